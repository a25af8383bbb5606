"""The keys of a row that change how it is judged: each is read, or refused with file and line, never ignored.

A row may have any other keys (difficulty, url, tags, ...): data sets have many. A key is refused if it

* belongs to judging, and this format or this row's comparison cannot honour it; or
* is written almost like a key that this format reads (`comparision`, `timeLimit`); or
* is another usual word for one (`epsilon`, `spj`, `max_time`), or for a limit that no format has (`output_limit`).

A key whose value is null, false or empty asks for nothing, and is never refused. What stands inside `metadata` is free.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent_rl.errors import ConfigError
from agent_rl.formats.row_fields import Fields
from agent_rl.formats.vacuous_tests import check_checker
from agent_rl.vocabulary import Limits

RULES = ("comparison", "tolerance", "checker", "isolated")
_SECONDS: Mapping[str, float] = {
    "time_limit": 1.0,
    "timeout": 1.0,
    "time_limit_seconds": 1.0,
    "timeout_seconds": 1.0,
    "timeout_sec": 1.0,
    "time_limit_ms": 1e-3,
    "timeout_ms": 1e-3,
}
"""Keys of the limit on time, and the seconds that 1 stands for."""
_BYTES: Mapping[str, int] = {
    "memory_limit": 0,
    "memory": 0,
    "memory_limit_bytes": 1,
    "memory_bytes": 1,
    "memory_limit_kb": 1 << 10,
    "memory_limit_mb": 1 << 20,
    "memory_mb": 1 << 20,
}
"""Keys of the limit on memory, and the bytes that 1 stands for. 0: MiB below 2**20, else bytes (no program runs in
less than 1 MiB, and no limit is as large as 1 TiB)."""
LIMITS = (*_SECONDS, *_BYTES)
_MOST_SECONDS = 600.0
_TIME_UNITS: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("min", "minute"), 60.0),
}
_MEMORY_UNITS: Mapping[str, float] = {
    **dict.fromkeys(("b", "byte"), 1.0),
    **dict.fromkeys(("k", "kb", "kib", "kilobyte"), float(1 << 10)),
    **dict.fromkeys(("m", "mb", "mib", "megabyte"), float(1 << 20)),
    **dict.fromkeys(("g", "gb", "gib", "gigabyte"), float(1 << 30)),
}
_QUANTITY = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]*)\.?")
_UNIT = "(in)?(s|ms|secs?|seconds?|m?secs|millis|milliseconds?|mins?|minutes?|b|bytes|[kmg]i?b)?"
_ORDER = "comparison': 'any_order"
_NO_KEY = ""
_OTHER_WORDS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(words), meant)
    for words, meant in (
        (
            "compare|comparator|compar(e|ison)(mode|type|method)|ignore(case|whitespaces?)|case(in)?sensitive",
            "comparison",
        ),
        ("(any|ignore)(the)?order(ing)?|order(matters|independent|insensitive)|unordered", _ORDER),
        (
            "tol|eps|epsilon|precision|([ar]|abs|rel|absolute|relative|float|numeric)_?(tol|tolerance|eps|epsilon)",
            "tolerance",
        ),
        ("spj|check|(special|custom)(judge|checker)|checker(code|program|source)", "checker"),
        ("isolate|isolation", "isolated"),
        (f"limits|time|(max|cpu|wall|wallclock)+(run)?time{_UNIT}|(cpu|wall)(limit|secs|seconds)", "time_limit"),
        (f"(max|cpu|wall|exec|execution|run|test|case)*time(limit|out|budget)s?(per(test|case))?{_UNIT}", "time_limit"),
        (f"(max)?(mem|memory|ram)(limit|budget|max)s?{_UNIT}|max(mem|memory|ram){_UNIT}", "memory_limit"),
        (
            f"(max)?(output|stdout)(size)?limit{_UNIT}|max(output|stdout)(size)?{_UNIT}|stack(limit|size){_UNIT}",
            _NO_KEY,
        ),
    )
)
"""Other usual words, as `_plain` writes them, and the key that is meant; of `_NO_KEY` there is none."""
_OFF_ASKS = ("ordermatters", "casesensitive")
"""Words that ask for something by being false."""
_OTHER_MEANING = frozenset({"checked", "companion"})
"""Words that are almost a key, and mean something else."""
_SHORTEST, _LONG = 6, 8
"""Letters of the shortest key that can be meant by an almost equal one, and of keys in which two letters may differ."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a row's outputs are compared, and whether each case has a run of its own."""

    comparison: str
    tolerance: float
    checker: str
    isolated: bool


def rule_of(row: Fields, comparisons: Sequence[str], default: str, parameters: int) -> Rule:
    """The row's comparison, tolerance, checker and isolation; a checker's `check` takes so many parameters.

    Raises ConfigError for a wrong value, and for a tolerance or checker that the row's comparison does not use.
    """
    comparison: str = row.choice("comparison", comparisons, default) if asks(row, "comparison") else default
    tolerance, checker = row.number("tolerance", 1e-6), row.text("checker", default="")
    if not 0 <= tolerance < 1:
        raise row.wrong(
            f"'tolerance' should be at least 0 and below 1, got {tolerance:g}: it is relative to the larger number, "
            "and a tolerance of 1 accepts 0 for every number"
        )
    for name, of in (("tolerance", "float"), ("checker", "checker")):
        if asks(row, name) and comparison != of:
            raise row.wrong(f"{name!r} is only for comparison {of!r}, and this row's is {comparison!r}")
    if comparison == "checker":
        if not checker.strip():
            raise row.wrong("comparison 'checker' needs a 'checker', the source of a program")
        check_checker(row, checker, parameters)
    return Rule(comparison, tolerance, checker, row.flag("isolated"))


def refuse_rules(row: Fields, why: str) -> None:
    """Raises ConfigError if the row asks for a comparison, tolerance, checker or isolation; `why` is the reason."""
    for name in RULES:
        if asks(row, name):
            raise row.wrong(f"{name!r} cannot be honoured: {why}")


def refuse_judging_keys(content: Mapping[str, Any], where: str, why: str) -> None:
    """Raises ConfigError that begins with `where` for any key of a row that asks for judging of its own, or for one
    written almost like it: comparison, tolerance, checker, isolation, limits. `why` is the reason.
    """
    row = Fields(content, where)
    refuse_rules(row, why)
    for name in LIMITS:
        if asks(row, name):
            raise row.wrong(f"{name!r} cannot be honoured: {why}")
    check_keys(row, ())


def limits_of(row: Fields, base: Limits) -> Limits:
    """`base` with the row's own limits on time and memory, which are those of one case. Raises ConfigError."""
    seconds = _one(row, {name: _seconds(row, name, unit) for name, unit in _SECONDS.items() if asks(row, name)})
    memory = _one(row, {name: _memory(row, name, unit) for name, unit in _BYTES.items() if asks(row, name)})
    if seconds is not None:
        base = dataclasses.replace(base, wall_seconds=seconds, cpu_seconds=seconds)
    return base if memory is None else dataclasses.replace(base, memory_bytes=int(memory))


def check_keys(row: Fields, optional: Collection[str], *, free: Collection[str] = ()) -> None:
    """Raises ConfigError for a key that is almost one of `optional`, or another word for one, and asks for something.

    `optional` are the format's own keys, beside those of limits and RULES, that a row may leave out. `free` are keys of
    published data sets of the format, whose tests honour them by themselves.
    """
    known = {*optional, *RULES, *LIMITS}
    spelled = {_plain(name): name for name in known if len(_plain(name)) >= _SHORTEST}
    for key in row.content:
        plain = _plain(key)
        if key in known or key in free or not _would_change(row, key):
            continue
        meant = _meant(plain, spelled)
        if meant is not None:
            hint = f"is '{meant}' meant?" if meant else "a case may print what it is due, and has no such limit"
            raise ConfigError(
                f"{row.where}: the key {key!r} is not read; {hint} "
                "(What has nothing to do with judging may stand inside 'metadata'.)"
            )


def asks(row: Fields, name: str) -> bool:
    """Whether the row's value in this field asks for something: it is not null, false or empty, and no limit of 0."""
    value: Any = row.content.get(name)
    if name in LIMITS and isinstance(value, Mapping):
        value = any(cast("Mapping[str, Any]", value).values())
    if name == "tolerance":
        return value is not None
    return value is not None and value is not False and value != "" and value != [] and value != {} and value != 0


def _would_change(row: Fields, key: str) -> bool:
    """Whether the value of a key that no format reads may ask for another judging; some words have other meanings."""
    plain, value = _plain(key), row.content[key]
    if plain in _OFF_ASKS:
        return value is False
    if not asks(row, key):
        return False
    if plain == "check":
        return value is True or (isinstance(value, str) and "def " in value)
    if plain == "time":
        return _is_duration(value)
    return plain != "precision" or _is_number(value)


def _is_number(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, (int, float))
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_duration(value: Any) -> bool:
    """Whether the value of a key `time` is one, and no date or time of the day."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip().lower())
        return match is not None and (match[2] == "ms" or match[2].removesuffix("s") in {"", *_TIME_UNITS})
    return isinstance(value, (int, float)) and 0 < value <= 1e3 * _MOST_SECONDS


def _meant(plain: str, spelled: Mapping[str, str]) -> str | None:
    """The key that `plain` was probably meant to be."""
    if plain in spelled:
        return spelled[plain]
    for words, meant in _OTHER_WORDS:
        if words.fullmatch(plain):
            return meant
    if plain in _OTHER_MEANING:
        return None
    near = [
        name
        for letters, name in spelled.items()
        if letters[0] == plain[:1] and _differ(plain, letters) <= (2 if len(letters) >= _LONG else 1)
    ]
    return min(near, key=lambda name: _differ(plain, _plain(name)), default=None)


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def _differ(one: str, other: str) -> int:
    """The number of letters to insert, drop, replace or swap with a neighbour; at least 3 where lengths differ so."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]


def _one(row: Fields, found: Mapping[str, float]) -> float | None:
    """The one value that the fields give; None if there are none. Raises ConfigError if they differ."""
    if len(set(found.values())) > 1:
        raise row.wrong(f"{' and '.join(map(repr, found))} say different limits")
    return next(iter(found.values()), None)


def _seconds(row: Fields, name: str, unit: float) -> float:
    value: Any = row.content[name]
    if isinstance(value, Mapping):  # CodeContests
        parts = Fields(cast("Mapping[str, Any]", value), f"{row.where}: {name!r}")
        if not set(parts.content) <= {"seconds", "nanos"}:
            raise row.wrong(f"{name!r} should hold seconds and nanos, got {', '.join(map(str, parts.content))}")
        seconds = parts.number("seconds", 0.0) + parts.number("nanos", 0.0) * 1e-9
    else:
        seconds = _quantity(row, name, _TIME_UNITS, unit)
    if not 0 < seconds <= _MOST_SECONDS:
        raise row.wrong(
            f"{name!r} should be more than 0 and at most {_MOST_SECONDS:g} seconds, got {seconds:g} "
            "(milliseconds are given as 'time_limit_ms')"
        )
    return seconds


def _memory(row: Fields, name: str, unit: int) -> float:
    size = _quantity(row, name, _MEMORY_UNITS, unit or 1)
    if unit == 0 and 0 < size < 1 << 20 and not str(row.content[name]).strip()[-1:].isalpha():
        size *= 1 << 20
    if size < 1 << 20:
        raise row.wrong(f"{name!r} should be at least 1 MiB, got {size:g} bytes")
    if size >= 1 << 60:
        raise row.wrong(f"{name!r} should be no more than a machine has, got {size:g} bytes")
    return float(int(size))


def _quantity(row: Fields, name: str, units: Mapping[str, float], unit: float) -> float:
    """The number in the field times `unit`; in a text ("2 seconds", "256 megabytes") the unit may be named."""
    value: Any = row.content[name]
    if not isinstance(value, str):
        return row.number(name, 0.0) * unit
    match = _QUANTITY.fullmatch(value.strip().lower())
    named = match[2] if match is not None else ""
    named = named.removesuffix("s") if len(named) > 1 and named != "ms" else named
    if match is None or (named and named not in units):
        example = "2 seconds" if "s" in units else "256 MB"
        raise row.wrong(f"{name!r} should be a number or a text such as {example!r}, got {value[:40]!r}")
    return float(match[1]) * (units[named] if named else unit)
