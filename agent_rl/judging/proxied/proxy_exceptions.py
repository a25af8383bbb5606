"""Exceptions on the wire of tier `proxied`: by their class where both sides have it, and with what tests ask of them.

    raised(class, args, text, id, attributes, cause, context, group)

The class is one of `builtins` or of a short list of modules, or a class of the candidate, which both sides know by its
bases. So it is caught by the name of each class that it is derived from, and by no other name.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import builtins
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.proxy_messages import BUILTINS, SCALARS, MalformedMessage, WireForm
from agent_rl.vocabulary.canonical import Record

MODULES = frozenset(
    (
        *(
            "_csv",
            "_curses",
            "_queue",
            "_socket",
            "_struct",
            "_pickle",
            "argparse",
            "array",
            "ast",
            "asyncio.exceptions",
        ),
        *("binascii", "bz2", "calendar", "codecs", "concurrent.futures._base", "configparser", "contextvars", "copy"),
        *("csv", "dataclasses", "decimal", "email.errors", "enum", "getopt", "graphlib", "gzip", "http.client"),
        *("http.cookies", "inspect", "io", "ipaddress", "json.decoder", "lzma", "multiprocessing.context", "netrc"),
        *("pickle", "queue", "re", "re._constants", "secrets", "select", "shutil", "smtplib", "socket", "sqlite3"),
        *("sre_constants", "ssl", "statistics", "string", "struct", "subprocess", "tarfile", "tempfile", "threading"),
        *("tokenize", "traceback", "urllib.error", "uuid", "wave", "weakref", "xml.etree.ElementTree"),
        *("xml.parsers.expat", "zipfile", "zlib", "zoneinfo", "zoneinfo._common"),
    )
)
"""Modules of the standard library whose exceptions cross by name. Importing one of them does nothing else."""
_ATTRIBUTES = (
    *("errno", "strerror", "filename", "filename2", "name", "path", "msg", "value", "code", "doc", "pos", "lineno"),
    *("colno", "offset", "text", "returncode", "cmd", "output", "stderr", "timeout", "reason", "__notes__"),
)
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
_MAX_CHAIN = 4
_MAX_TEXT = 5000
_nesting = threading.local()
"""How many exceptions deep the one is that is written now."""


def class_record(kind: type) -> "Record | None":
    """The record of an exception's class that both sides have; None for any other."""
    if not issubclass(kind, BaseException):
        return None
    name, module = kind.__name__, kind.__module__
    if BUILTINS.get(name) is kind:
        return Record("builtin", (("name", name),))
    if module in MODULES and getattr(sys.modules.get(module), name, None) is kind:
        return Record("library", (("module", module), ("name", name)))
    return None


def class_of_library(fields: "dict[str, Any]") -> Any:
    """The exception's class that a record "library" names. Raises MalformedMessage."""
    module, name = fields.get("module"), fields.get("name")
    if module not in MODULES or type(name) is not str:
        raise MalformedMessage("a class that may not cross")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError:
        kind = None
    if not isinstance(kind, type) or not issubclass(kind, BaseException):
        raise MalformedMessage("a class that may not cross")
    return kind


def nearest(kind: type) -> type:
    """The nearest base of an exception's class, or itself, that both sides have."""
    return next(base for base in type.mro(kind) if class_record(base) is not None)


def exception_record(
    error: BaseException, wire: WireForm, class_of: "Callable[[type], Any]", number: "int | None", *, bare: bool = False
) -> Record:
    """The record of `error`, whose class has the record `class_of(class)`.

    bare: without anything but its class and text, which always have a wire form. The methods of `error` may raise.
    """
    kind = type(error)
    fields: list[tuple[str, Any]] = [("class", class_of(kind)), ("args", None), ("text", _text(error)), ("id", number)]
    if bare:
        return Record("raised", tuple(fields))
    if type(error.args) is tuple:
        fields[1] = ("args", () if isinstance(error, _GROUP) else wire(error.args))
    fields.append(("attributes", tuple(_attributes(error))))
    depth = getattr(_nesting, "depth", 0)
    if depth < _MAX_CHAIN:
        _nesting.depth = depth + 1
        try:
            chain = error.__cause__, None if error.__suppress_context__ else error.__context__
            fields += [(n, wire(e)) for n, e in zip(("cause", "context"), chain) if e is not None]  # noqa: B905
        finally:
            _nesting.depth = depth
    if isinstance(error, _GROUP):
        group: Any = error
        fields.append(("group", wire(tuple(group.exceptions))))
        fields.append(("message", str(group.message)))
    return Record("raised", tuple(fields))


def _text(error: BaseException) -> str:
    try:
        text = str(error)
        return str.__str__(text)[:_MAX_TEXT]
    except BaseException:
        return "(its message could not be had)"


def _attributes(error: BaseException) -> "list[tuple[str, Any]]":
    found: dict[str, Any] = {}
    fields = getattr(error, "__dict__", {})
    for name in (*_ATTRIBUTES, *(fields if type(fields) is dict else ())):
        value = getattr(error, name, None) if type(name) is str else None
        if type(value) in SCALARS and value is not None:
            found[name] = value
        elif name == "__notes__" and type(value) is list:
            found[name] = tuple(note for note in value if type(note) is str)
    return list(found.items())


def exception_from(fields: "dict[str, Any]", kind: Any, inner: WireForm, call: "Callable[..., Any]") -> BaseException:
    """The exception of class `kind` that a record "raised" describes; call(kind, *args) makes it.

    Raises MalformedMessage.
    """
    text, args = fields.get("text"), fields.get("args")
    if type(text) is not str or type(args) not in (tuple, type(None)):
        raise MalformedMessage("an exception of unknown form")
    made = _made(kind, None if args is None or holds_objects(args) else inner(args), text, fields, inner, call)
    attributes = fields.get("attributes", ())
    if type(attributes) is not tuple:
        raise MalformedMessage("an exception of unknown form")
    for pair in attributes:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str:
            raise MalformedMessage("an exception of unknown form")
        name, value = pair
        if name.startswith("_agent_rl_") or (name.startswith("__") and name != "__notes__"):
            continue
        try:
            BaseException.__setattr__(made, name, list(value) if name == "__notes__" else value)
        except Exception:
            continue
    for name in ("cause", "context"):
        if name in fields:
            other = inner(fields[name])
            if not isinstance(other, BaseException):
                raise MalformedMessage("an exception of unknown form")
            setattr(made, f"__{name}__", other)
    return made


def _made(
    kind: Any,
    args: "tuple[Any, ...] | None",
    text: str,
    fields: "dict[str, Any]",
    inner: WireForm,
    call: "Callable[..., Any]",
) -> Any:
    if args is None:
        # Python's own exceptions show their arguments as text.
        args = (text,)
    try:
        if _GROUP and issubclass(kind, _GROUP):
            parts = inner(fields.get("group"))
            if type(parts) is not tuple or not all(isinstance(part, BaseException) for part in parts):
                raise MalformedMessage("an exception of unknown form")
            return call(kind, fields.get("message"), parts)
        return call(kind, *args)
    except MalformedMessage:
        raise
    except Exception:
        try:
            made = kind.__new__(kind)
        except Exception:
            raise MalformedMessage("an exception of unknown form") from None
        made.args = args
        return made


def holds_objects(wire: Any) -> bool:
    """Whether a wire form holds an object of the candidate, outside of containers."""
    if type(wire) in (tuple, frozenset):
        return any(holds_objects(item) for item in wire)
    if type(wire) is Record:
        return wire.name == "object" or any(holds_objects(value) for _, value in wire.fields)
    return False
