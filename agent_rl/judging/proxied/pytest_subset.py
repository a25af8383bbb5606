"""The part of `pytest` that tests of functions and simple classes use: `raises`, `approx`, `fixture`, `mark` and so on.

Tests of tier `proxied` run with this module and never with an installed pytest. So their verdict does not depend on the
image or on its plugins and configuration, and a run costs a fork and not an import. A use of any other part of pytest
raises an AttributeError that says so; the oracle solution meets it when the task is loaded.

This file is self-contained (standard library only, Python 3.9): its source also runs inside the sandboxes.
"""

import contextlib
import importlib
import math
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Number
from typing import Any


class OutcomeException(BaseException):
    """Raised by a test to say how it ended: skipped, failed, xfailed or exit."""

    kind = "failed"

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Skipped(OutcomeException):
    kind = "skipped"


class Failed(OutcomeException):
    kind = "failed"


class XFailed(OutcomeException):
    kind = "xfailed"


class Exit(OutcomeException):
    kind = "exit"


def skip(reason: str = "", *, allow_module_level: bool = False, msg: "str | None" = None) -> None:
    raise Skipped(msg or reason)


def fail(reason: str = "", pytrace: bool = True, msg: "str | None" = None) -> None:
    raise Failed(msg or reason)


def xfail(reason: str = "") -> None:
    raise XFailed(reason)


def exit(reason: str = "", returncode: "int | None" = None) -> None:
    raise Exit(reason)


def importorskip(name: str, minversion: "str | None" = None, reason: "str | None" = None) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Skipped(reason or str(error)) from None


class ExceptionInfo:
    """What `raises` caught."""

    def __init__(self) -> None:
        self.value: Any = None

    @property
    def type(self) -> Any:
        return type(self.value)

    @property
    def typename(self) -> str:
        return type(self.value).__name__

    @property
    def tb(self) -> Any:
        return self.value.__traceback__

    def exconly(self) -> str:
        return f"{self.typename}: {self.value}"

    def errisinstance(self, kind: Any) -> bool:
        return isinstance(self.value, kind)

    def match(self, pattern: Any) -> bool:
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"pattern {pattern!r} was not found in {str(self.value)!r}")
        return True

    def __str__(self) -> str:
        return repr(self.value)


class _Raises:
    def __init__(self, expected: Any, match: Any) -> None:
        self._expected = expected
        self._match = match
        self._info = ExceptionInfo()

    def __enter__(self) -> ExceptionInfo:
        return self._info

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is None:
            raise Failed(f"DID NOT RAISE {self._expected!r}")
        if isinstance(error, OutcomeException) or not isinstance(error, self._expected):
            return False
        self._info.value = error
        if self._match is not None:
            self._info.match(self._match)
        return True


def raises(expected_exception: Any, *args: Any, match: Any = None, **kwargs: Any) -> Any:
    kinds = expected_exception if isinstance(expected_exception, tuple) else (expected_exception,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"expected exceptions, not {expected_exception!r}")
    context = _Raises(expected_exception, match)
    if not args:
        return context
    with context as info:
        args[0](*args[1:], **kwargs)
    return info


@contextlib.contextmanager
def warns(expected_warning: Any = Warning, *, match: Any = None) -> Any:
    import warnings

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen
    found = [w for w in seen if issubclass(w.category, expected_warning)]
    if not any(match is None or re.search(match, str(w.message)) for w in found):
        raise Failed(f"DID NOT WARN {expected_warning!r}")


def deprecated_call(*, match: Any = None) -> Any:
    return warns((DeprecationWarning, PendingDeprecationWarning), match=match)


class approx:
    """Equal within tolerances; only for plain numbers and containers of them."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> None:
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual: Any) -> bool:
        return self._close(actual, self.expected)

    def __ne__(self, actual: Any) -> bool:
        return not self._close(actual, self.expected)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    def _close(self, actual: Any, expected: Any) -> bool:
        if isinstance(expected, Mapping):
            if not isinstance(actual, dict) or actual.keys() != expected.keys():
                return False
            return all(self._close(actual[key], value) for key, value in expected.items())
        if isinstance(expected, (list, tuple)):
            if not isinstance(actual, (list, tuple)) or len(actual) != len(expected):
                return False
            return all(self._close(a, e) for a, e in zip(actual, expected))  # noqa: B905
        if isinstance(expected, Number) and not isinstance(expected, bool):
            if not isinstance(actual, (int, float, complex, Decimal, Fraction)):
                return False
            return self._number(actual, expected)
        return bool(actual == expected)

    def _number(self, actual: Any, expected: Any) -> bool:
        actual, expected = _plain(actual), _plain(expected)
        if actual == expected:
            return True
        if isinstance(expected, Decimal) or isinstance(actual, Decimal):
            actual, expected = float(actual), float(expected)
        if any(isinstance(n, float) and math.isnan(n) for n in (actual, expected)):
            return self.nan_ok and actual != actual and expected != expected
        if any(isinstance(n, float) and math.isinf(n) for n in (actual, expected)):
            return False
        absolute = 1e-12 if self.abs is None else float(self.abs)
        usual = 1e-6 if self.abs is None else 0.0
        relative = usual if self.rel is None else float(self.rel)
        return abs(actual - expected) <= max(absolute, relative * abs(expected))


def _plain(number: Any) -> Any:
    """The plain value of a number, even if its class overrides the conversions."""
    if isinstance(number, float):
        return float.__float__(number)
    return int.__int__(number) if isinstance(number, int) else number


class Mark:
    """One mark of a test: `name(*args, **kwargs)`."""

    def __init__(self, name: str, args: "tuple[Any, ...]" = (), kwargs: "dict[str, Any] | None" = None) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs or {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and (isinstance(args[0], (types.FunctionType, type))):
            marked: Any = args[0]
            marked.pytestmark = [*marked.__dict__.get("pytestmark", []), self]
            return marked
        return Mark(self.name, args, kwargs)


class _Marks:
    def __getattr__(self, name: str) -> Mark:
        if name.startswith("_"):
            raise AttributeError(name)
        return Mark(name)


mark = _Marks()


class Parameters:
    """One set of a parametrization's values."""

    def __init__(self, values: "tuple[Any, ...]", name: "str | None", marks: "list[Mark]") -> None:
        self.values, self.name, self.marks = values, name, marks


def param(*values: Any, id: "str | None" = None, marks: Any = ()) -> Parameters:
    return Parameters(values, id, list(marks) if isinstance(marks, (list, tuple)) else [marks])


class Fixture:
    """A fixture's function and settings."""

    def __init__(self, function: Any, options: "dict[str, Any]") -> None:
        self.function = function
        self.name: str | None = options.get("name")
        self.scope: str = options.get("scope", "function")
        self.autouse = bool(options.get("autouse", False))
        params = options.get("params")
        self.params: list[Any] | None = None if params is None else list(params)
        self.ids: Any = options.get("ids")


def fixture(function: Any = None, **options: Any) -> Any:
    if function is None:
        return lambda decorated: fixture(decorated, **options)
    function._agent_rl_fixture = Fixture(function, options)
    return function


_MISSING: Any = object()


class MonkeyPatch:
    """Changes that are undone after the test."""

    elsewhere: Any = None
    """Makes patches of modules in the solution's process too."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []

    @classmethod
    @contextlib.contextmanager
    def context(cls) -> "Iterator[MonkeyPatch]":
        patch = cls()
        try:
            yield patch
        finally:
            patch.undo()

    def setattr(self, target: Any, name: Any, value: Any = _MISSING, raising: bool = True) -> None:
        if isinstance(target, str):
            value = name if value is _MISSING else value
            module, _, name = target.rpartition(".")
            target = importlib.import_module(module)
        old = getattr(target, name) if raising else getattr(target, name, _MISSING)
        if self.elsewhere is not None and self.elsewhere.of(target, name):
            self.elsewhere.set(target, name, value)
            self._undo.append(self.elsewhere.undo)
        setattr(target, name, value)
        self._undo.append(lambda: delattr(target, name) if old is _MISSING else setattr(target, name, old))

    def setitem(self, target: Any, key: Any, value: Any) -> None:
        had, old = key in target, target.get(key)
        target[key] = value
        self._undo.append(lambda: target.__setitem__(key, old) if had else target.pop(key, None))

    def delattr(self, target: Any, name: str, raising: bool = True) -> None:
        if hasattr(target, name) or raising:
            old = getattr(target, name)
            delattr(target, name)
            self._undo.append(lambda: setattr(target, name, old))

    def delitem(self, target: Any, key: Any, raising: bool = True) -> None:
        if key in target or raising:
            old = target.pop(key)
            self._undo.append(lambda: target.__setitem__(key, old))

    def setenv(self, name: str, value: str, prepend: "str | None" = None) -> None:
        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        if name in os.environ:
            old = os.environ.pop(name)
            self._undo.append(lambda: os.environ.__setitem__(name, old))
        elif raising:
            raise KeyError(name)

    def chdir(self, path: Any) -> None:
        before = os.getcwd()
        os.chdir(path)
        self._undo.append(lambda: os.chdir(before))

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


def module() -> types.ModuleType:
    """A module named `pytest` with all of this."""
    made = types.ModuleType("pytest", __doc__)
    offered = (
        skip,
        fail,
        xfail,
        exit,
        importorskip,
        raises,
        warns,
        deprecated_call,
        approx,
        param,
        fixture,
        ExceptionInfo,
        MonkeyPatch,
    )
    for thing in offered:
        setattr(made, thing.__name__, thing)
    made.mark = mark  # type: ignore[attr-defined]

    def missing(name: str) -> Any:
        raise AttributeError(f"pytest.{name} is not known in tests of this tier")

    made.__getattr__ = missing  # type: ignore[method-assign]
    return made
