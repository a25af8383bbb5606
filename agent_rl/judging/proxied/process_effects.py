"""What a program does beside returning values, so that tests see it as in one process (tier `proxied`).

The candidate's answers say what it has printed, warned of and logged, and how it has changed the environment; the same
is then done in the tests' process. What the tests change of the environment, and what they patch with `unittest.mock`
or `monkeypatch`, is changed in the candidate's process. Only what the words of the tests ask for is watched: see
`WORDS`. The state of `random` stays where it is: with it, a candidate would choose the inputs that tests draw.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import importlib
import io
import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.proxy_messages import MalformedMessage

WORDS = {
    "streams": (b"stdout", b"stderr", b"capsys", b"print"),
    "warnings": (b"warn",),
    "logging": (b"log",),
    "environ": (b"environ", b"getenv", b"setenv", b"delenv"),
}
"""What is watched, if one of these words is in the files of the tests."""
_MAX_TEXT = 1 << 20


def watched(sources: "list[bytes]") -> "list[str]":
    """What the candidate's process has to watch for these tests."""
    return [name for name, words in WORDS.items() if any(word in source for source in sources for word in words)]


class ProcessState:
    """The environment of this process, which both processes share, and what the other one knows of it."""

    def __init__(self, names: "list[str]") -> None:
        self._watched = "environ" in names
        self._told: Any = None

    def changes(self) -> "list[Any]":
        """[["environ", all variables]], if the other process does not know them."""
        if not self._watched:
            return []
        before, self._told = self._told, tuple(sorted(os.environ.items()))
        return [] if before in (None, self._told) else [["environ", self._told]]

    def take(self, value: Any) -> None:
        """The environment is `value` here too. Raises MalformedMessage."""
        if not self._watched:
            raise MalformedMessage("a state that nobody asked for")
        try:
            wanted = dict(value)
            for key in [key for key in os.environ if key not in wanted]:
                del os.environ[key]
            os.environ.update(wanted)
        except Exception:
            raise MalformedMessage("a state of unknown form") from None
        self._told = value


class _WrittenStream(io.FileIO):
    """A file that remembers what is written to it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.pending = bytearray()

    def write(self, data: Any) -> int:
        if len(self.pending) < _MAX_TEXT:
            self.pending += bytes(data)[:_MAX_TEXT]
        return super().write(data)


class CandidateEffects:
    """In the candidate's process: notices what the program does."""

    def __init__(self) -> None:
        self._state = ProcessState([])
        self._files: dict[str, _WrittenStream] = {}
        self._streams: list[Any] = []
        self._warned: list[Any] = []
        self._logged: list[Any] = []

    def watch(self, names: "list[str]") -> None:
        self._state = ProcessState(names)
        self._state.changes()
        if "streams" in names:
            for name, descriptor in (("stdout", 1), ("stderr", 2)):
                self._files[name] = _WrittenStream(descriptor)
                buffer = io.BufferedWriter(self._files[name])
                stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", line_buffering=True)
                stream.mode = "w"  # type: ignore[attr-defined]
                self._streams.append(stream)
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
        if "warnings" in names:
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_, **__: self._warned.append(message)
        if "logging" in names:
            self._watch_logging()

    def _watch_logging(self) -> None:
        import logging

        handle = logging.Logger.callHandlers

        def noticed(logger: Any, record: Any) -> None:
            self._logged.append([str(record.name), int(record.levelno), str(record.getMessage())[:_MAX_TEXT]])
            if logger.hasHandlers():
                handle(logger, record)

        logging.Logger.callHandlers = noticed  # type: ignore[method-assign]
        logging.getLogger().setLevel(1)

    def take(self, state: "list[Any]") -> None:
        """The tests have changed the shared state."""
        for _, value in state:
            self._state.take(value)

    def seen(self) -> "tuple[list[Any], tuple[Any, ...]]":
        """(what was done since it was asked last, warnings)."""
        found = self._state.changes()
        for stream in self._streams:
            stream.flush()
        for name, file in self._files.items():
            if file.pending:
                found.append([name, file.pending.decode("utf-8", "replace")])
                file.pending.clear()
        found += [["log", entry] for entry in self._logged]
        given = tuple(self._warned)
        self._logged.clear()
        self._warned.clear()
        return found, given


class Patches:
    """In the candidate's process: what the tests have patched in modules. `builtin` are the program's own built-ins."""

    def __init__(self, builtin: "dict[str, Any]") -> None:
        self._builtin = builtin
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, module: str, name: str, value: Any) -> None:
        if module == "builtins":
            self._before.append((None, name, self._builtin.get(name, self)))
            self._builtin[name] = value
            return
        target = importlib.import_module(module)
        self._before.append((target, name, getattr(target, name, self)))
        setattr(target, name, value)

    def undo(self) -> None:
        """The last patch is taken back."""
        target, name, value = self._before.pop()
        if target is None:
            self._builtin.update({name: value}) if value is not self else self._builtin.pop(name, None)
        elif value is self:
            delattr(target, name)
        else:
            setattr(target, name, value)


class TestsEffects:
    """In the tests' process: does what the candidate says that it has done."""

    __test__ = False

    def __init__(self, names: "list[str]") -> None:
        self._names = names
        self.state = ProcessState(names)

    def do(self, effects: "list[Any]", given: "list[Any]", changes: "Callable[[], bool]") -> None:
        """`changes` says whether the environment may be changed here.

        Raises MalformedMessage, and the warnings that the tests have made errors.
        """
        for effect in effects:
            if type(effect) is not list or len(effect) != 2:
                raise MalformedMessage("an effect of unknown form")
            name, value = effect
            if name in ("stdout", "stderr") and type(value) is str and "streams" in self._names:
                getattr(sys, name).write(value)
            elif name == "log" and "logging" in self._names:
                _log(value)
            elif name == "environ":
                if changes():
                    self.state.take(value)
            else:
                raise MalformedMessage("an effect of unknown form")
        for warning in given:
            if not isinstance(warning, Warning) or "warnings" not in self._names:
                raise MalformedMessage("a warning of unknown form")
            warnings.warn_explicit(warning, type(warning), "solution.py", 1, "solution")


def _log(entry: Any) -> None:
    import logging

    if type(entry) is not list or [type(part) for part in entry] != [str, int, str]:
        raise MalformedMessage("a record of unknown form")
    name, level, message = entry
    logger = logging.getLogger(None if name == "root" else name)
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(name, level, "solution.py", 1, message, (), None))


class PatchedModules:
    """While it is entered: patches that `unittest.mock` makes in modules are made in the candidate's process too.

    set, undo: make a patch there, and take the last one back. own: names of the tests' own modules.
    """

    def __init__(
        self, set: "Callable[[str, str, Any], None]", undo: "Callable[[], None]", own: "frozenset[str]"
    ) -> None:
        self._set = set
        self._undo = undo
        self._own = own
        self._before: tuple[Any, Any] | None = None

    def of(self, target: Any, name: str) -> bool:
        """Whether a patch of `target` has to be made in the candidate's process too."""
        if type(target) is not types.ModuleType or target.__name__ in self._own:
            return False
        return not (target is sys and name in ("stdout", "stderr"))

    def set(self, target: Any, name: str, value: Any) -> None:
        self._set(target.__name__, name, value)

    def undo(self) -> None:
        self._undo()

    def __enter__(self) -> "PatchedModules":
        mock: Any = sys.modules.get("unittest.mock")
        if mock is not None:
            enter, leave = mock._patch.__enter__, mock._patch.__exit__
            self._before = enter, leave

            def entered(patch: Any) -> Any:
                made = enter(patch)
                if self.of(patch.target, patch.attribute):
                    try:
                        self.set(patch.target, patch.attribute, getattr(patch.target, patch.attribute))
                    except BaseException:
                        leave(patch, None, None, None)
                        raise
                return made

            def left(patch: Any, *error: Any) -> Any:
                if self.of(patch.target, patch.attribute):
                    self.undo()
                return leave(patch, *error)

            mock._patch.__enter__, mock._patch.__exit__ = entered, left
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            mock: Any = sys.modules["unittest.mock"]
            mock._patch.__enter__, mock._patch.__exit__ = self._before
