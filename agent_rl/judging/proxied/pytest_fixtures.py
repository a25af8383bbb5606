"""Fixtures that tests of tier `proxied` find without defining them: what was printed, warned of and logged.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import collections
import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

Captured = collections.namedtuple("Captured", "out err")


class Capture:
    """`capsys`: the text that was printed since it was read last."""

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        self._begin()

    def _begin(self) -> None:
        sys.stdout, sys.stderr = self._streams = io.StringIO(), io.StringIO()

    def readouterr(self) -> Captured:
        out, err = self._streams
        read = Captured(out.getvalue(), err.getvalue())
        for stream in self._streams:
            stream.seek(0)
            stream.truncate()
        return read

    @contextlib.contextmanager
    def disabled(self) -> "Iterator[None]":
        now = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._before
        try:
            yield
        finally:
            sys.stdout, sys.stderr = now

    def close(self) -> None:
        sys.stdout, sys.stderr = self._before


class Warned:
    """`recwarn`: the warnings of the test so far."""

    def __init__(self) -> None:
        self._catching = warnings.catch_warnings(record=True)
        self.list: Any = self._catching.__enter__()
        warnings.simplefilter("default")

    def __len__(self) -> int:
        return len(self.list)

    def __iter__(self) -> Any:
        return iter(self.list)

    def __getitem__(self, index: int) -> Any:
        return self.list[index]

    def pop(self, kind: Any = Warning) -> Any:
        for index, found in enumerate(self.list):
            if issubclass(found.category, kind):
                return self.list.pop(index)
        raise AssertionError(f"{kind!r} was not found in the warnings")

    def clear(self) -> None:
        self.list.clear()

    def close(self) -> None:
        self._catching.__exit__(None, None, None)


class Logged:
    """`caplog`: the log records of the test so far."""

    def __init__(self) -> None:
        import logging

        self._logging = logging
        self.records: list[Any] = []
        self.handler = logging.Handler(0)
        self.handler.emit = self.records.append  # type: ignore[method-assign]
        logging.getLogger().addHandler(self.handler)
        self._levels: list[tuple[Any, int]] = []

    @property
    def messages(self) -> "list[str]":
        return [record.getMessage() for record in self.records]

    @property
    def record_tuples(self) -> "list[tuple[str, int, str]]":
        return [(record.name, record.levelno, record.getMessage()) for record in self.records]

    @property
    def text(self) -> str:
        lines = [f"{r.levelname:<8} {r.name}:{r.filename}:{r.lineno} {r.getMessage()}\n" for r in self.records]
        return "".join(lines)

    def set_level(self, level: Any, logger: "str | None" = None) -> None:
        target = self._logging.getLogger(logger)
        self._levels.append((target, target.level))
        target.setLevel(level)

    @contextlib.contextmanager
    def at_level(self, level: Any, logger: "str | None" = None) -> "Iterator[None]":
        target = self._logging.getLogger(logger)
        before = target.level
        target.setLevel(level)
        try:
            yield
        finally:
            target.setLevel(before)

    def clear(self) -> None:
        self.records.clear()

    def close(self) -> None:
        self._logging.getLogger().removeHandler(self.handler)
        for target, level in reversed(self._levels):
            target.setLevel(level)


FIXTURES: "dict[str, Callable[[], Any]]" = {"capsys": Capture, "recwarn": Warned, "caplog": Logged}
"""By name, what makes each; `close()` ends it."""
