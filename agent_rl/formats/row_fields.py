"""Reads and checks the fields of a data set's row; errors name file, line and field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent_rl.errors import ConfigError
from agent_rl.formats.json_text import TooLong, parse_json
from agent_rl.vocabulary import Limits

CODE_REQUEST = "Answer with the whole program in one ```python block."
_LONGEST_ID_BITS = 1 << 10


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings for a reader of rows: the split's name, and limits that replace the format's own."""

    split: str = "test"
    limits: Limits | None = None


class Fields:
    """One row. Each method returns one field, or raises ConfigError that says where the row is."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self.content = content
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.content.get(name) is not None

    def task_id(self, *names: str) -> str:
        """The row's id as text, from the first of `names` that the row has."""
        for name in names:
            value = self.content.get(name)
            if is_long(value):
                raise self.wrong(f"{name!r} is an integer too long for an id")
            if isinstance(value, (str, int)) and str(value).strip():
                return str(value)
        raise ConfigError(f"{self.where}: {names[0]!r} is missing", value=names[0], valid=self.content)

    def text(self, *names: str, default: str | None = None) -> str:
        """The string in the first of `names` that the row has."""
        for name in names:
            value = self.content.get(name)
            if value is not None:
                return self._of(name, value, str)
        if default is not None:
            return default
        raise ConfigError(f"{self.where}: {names[0]!r} is missing", value=names[0], valid=self.content)

    def choice(self, name: str, choices: Sequence[str], default: str) -> Any:
        value = self.text(name, default=default)
        if value not in choices:
            among = ", ".join(choices)
            raise ConfigError(f"{self.where}: {name!r} is one of {among}", key=name, value=value, valid=choices)
        return value

    def flag(self, name: str) -> bool:
        value = self.content.get(name)
        return self._of(name, False if value is None else value, bool)

    def number(self, name: str, default: float) -> float:
        """The finite number in the field."""
        value = self.content.get(name)
        try:
            number = float(self._of(name, default if value is None else value, (int, float)))
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong(f"{name!r} should be a finite number, got {number}")
        return number

    def list(self, name: str) -> list[Any]:
        """The list in the field, which may be given as JSON text."""
        return cast("list[Any]", self._of(name, self.decoded(name), list))

    def texts(self, name: str) -> list[str]:
        values = self.list(name)
        for value in values:
            self._of(name, value, str)
        return values

    def mapping(self, name: str) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self._of(name, self.decoded(name), Mapping))

    def files(self, name: str) -> dict[str, bytes]:
        """Path -> content; empty if the row has no such field."""
        if name not in self:
            return {}
        texts = {path: self._of(f"{name}.{path}", text, str) for path, text in self.mapping(name).items()}
        return {path: self.encoded(name, text) for path, text in texts.items()}

    def encoded(self, name: str, text: str) -> bytes:
        """The content of a file with this `text`, which stands in the field."""
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise self.wrong(f"{name!r} holds half of a surrogate pair, which no file can hold as text") from None

    def decoded(self, name: str) -> Any:
        """The field's value. Text is parsed as JSON, because data sets store nested values in this way."""
        value = self.content.get(name)
        if value is None:
            raise ConfigError(f"{self.where}: {name!r} is missing", value=name, valid=self.content)
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value)
        except TooLong as error:
            raise self.wrong(f"{name!r} holds {error}") from None
        except (ValueError, RecursionError):
            raise self.wrong(f"{name!r} is not JSON") from None

    def identifier(self, name: str) -> str:
        value = self.text(name)
        if not value.isidentifier():
            raise ConfigError(f"{self.where}: {name!r} should be a function's name, got {value!r}")
        return value

    def wrong(self, message: str) -> ConfigError:
        """An error about this row, to be raised."""
        return ConfigError(f"{self.where}: {message}")

    def _of(self, name: str, value: Any, kind: Any) -> Any:
        wanted = {str: "a string", bool: "true or false", list: "a list", Mapping: "an object"}.get(kind, "a number")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{self.where}: {name!r} should be {wanted}, got {type(value).__name__}")
        return value


def is_long(value: object) -> bool:
    """Whether the value is an integer too long for an id, or to be shown: Python may refuse to write it in decimal."""
    return isinstance(value, int) and value.bit_length() > _LONGEST_ID_BITS


def fenced(program: str) -> str:
    """A reply with `program` in a fenced block."""
    return f"```python\n{program.rstrip()}\n```"
