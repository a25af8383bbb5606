"""Rows that cannot be used: by default the first one is an error; here they are left out, counted, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from agent_rl.errors import ConfigError

OnInvalid = Literal["error", "skip"]
"""What becomes of rows that cannot be used. error: they are the user's mistake | skip: they are left out and named."""
_Content = TypeVar("_Content")
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that was left out: file and line, the task's id ("" if none could be read), and why."""

    where: str
    task_id: str
    reason: str

    def line(self) -> str:
        """The line that names the row."""
        return self.reason if self.reason.startswith(self.where) else f"{self.where}: {self.reason}"


class InvalidRows:
    """The rows that `read_tasks` and `prepare_all` left out, in the order in which they were found."""

    def __init__(self) -> None:
        self.rows: list[InvalidRow] = []
        self.places: dict[str, str] = {}
        """Where each task was read, by id."""

    def add(self, where: str, error: ConfigError, task_id: str = "") -> None:
        """`where` is left out because of `error`."""
        self.rows.append(InvalidRow(where, task_id, str(error)))


def lines_of(left_out: Sequence[str], tasks: int, most: int = 10) -> list[str]:
    """What a person is told of rows that were `left_out` beside so many usable tasks: a count, then the first rows."""
    if not left_out:
        return []
    more = [f"  and {len(left_out) - most} more"] if len(left_out) > most else []
    of = tasks + len(left_out)
    return [f"left out {len(left_out)} of {of} rows:", *(f"  {line}" for line in left_out[:most]), *more]


def usable(
    rows: Iterable[tuple[str, _Content]],
    read: Callable[[_Content, str], _Read],
    invalid: InvalidRows | None,
    id_of: Callable[[_Content], str] = lambda content: "",
) -> Iterator[_Read]:
    """`read(content, where)` of each (where, content). A ConfigError is raised, or with `invalid` added to it."""
    for where, content in rows:
        try:
            made = read(content, where)
        except ConfigError as error:
            if invalid is None:
                raise
            invalid.add(where, error, id_of(content))
        else:
            yield made
