"""Rows with a question and an answer from a file or the hub. Errors name file and line of a bad row."""

from __future__ import annotations

import gzip
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from agent_rl import ConfigError, InvalidRows, refuse_judging_keys
from agent_rl_envs.answers import Gold, gold_answer

_FILES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_QUESTIONS = ("question", "problem", "prompt", "query", "input", "instruction", "Question", "Problem")
_ANSWERS = (
    "answer", "final_answer", "expected_answer", "gold_answer", "ground_truth", "target", "label", "output", "solution",
    "response", "Answer", "Solution",
)  # fmt: skip
"""The usual names of columns, the ones that say more first: a row with an answer and a solution has both."""


_WHY = "a final answer is compared by what it means, numerically and symbolically, and runs no program"
_MOST_DIGITS = 4000
"""Of an integer. A longer one is taken as the text that it is: Python reads and writes no more than 4300."""


def read_questions(
    source: str,
    subset: str,
    split: str,
    question_column: str | None = None,
    answer_column: str | None = None,
    invalid: InvalidRows | None = None,
) -> list[tuple[str, Gold]]:
    """(question, gold answer) of every row of `split`. `{split}` in a file's name stands for the split.

    The columns may be named; without a name, the first of the usual ones that a row has is taken. Raises ConfigError
    for a missing file, a malformed row, a key that asks for another comparison, an answer that no reply can give, or a
    data set that cannot be loaded. With `invalid`, rows that cannot be used are left out and added to it.
    """
    if not source.endswith(_FILES):
        rows = _from_hub(source, subset, split)
    else:
        path = Path(source.replace("{split}", split)).expanduser()
        if not path.is_file():
            raise ConfigError(f"there is no file {path}", key="dataset", value=source)
        rows = _from_parquet(path) if path.suffix == ".parquet" else _from_jsonl(path)
    questions: list[tuple[str, Gold]] = []
    for where, row in rows:
        try:
            questions.append(_checked(where, row, question_column, answer_column))
        except ConfigError as error:
            if invalid is None:
                raise
            invalid.add(where, error)
    if not questions and invalid is not None and invalid.rows:
        first = invalid.rows[0].line()
        raise ConfigError(f"{source} holds no rows that can be used; the first of {len(invalid.rows)}: {first}")
    if not questions:
        raise ConfigError(f"{source} holds no rows for the split {split!r}", key="dataset")
    return questions


def _checked(where: str, row: Any, question_column: str | None, answer_column: str | None) -> tuple[str, Gold]:
    if isinstance(row, str):
        row = _decoded(where, row)
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where}: expected an object with question and answer, got {type(row).__name__}")
    columns = cast("Mapping[str, Any]", row)
    columns_read = [name for name in (question_column, answer_column) if name]
    refuse_judging_keys({k: v for k, v in columns.items() if k not in columns_read}, where, _WHY)
    question_name = question_column or _column(columns, _QUESTIONS, "question")
    question = columns.get(question_name)
    if isinstance(question, list):
        question = _asked(cast("list[Any]", question))
    if not isinstance(question, str) or not question.strip():
        raise ConfigError(f"{where}: {_wrong(question_name, question, columns, 'question_column')}")
    answer_name = answer_column or _column(columns, [name for name in _ANSWERS if name != question_name], "answer")
    answer = _text(columns.get(answer_name))
    if not answer:
        raise ConfigError(f"{where}: {_wrong(answer_name, columns.get(answer_name), columns, 'answer_column')}")
    return question, gold_answer(answer, where)


def _decoded(where: str, line: str) -> Any:
    try:
        return json.loads(line, parse_int=lambda text: text if len(text) > _MOST_DIGITS else int(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: no JSON: {error}") from None


def _column(columns: Mapping[str, Any], names: Sequence[str], default: str) -> str:
    """The first of `names` that has a value; `default` if none has."""
    return next((name for name in names if _is_given(columns.get(name))), default)


def _is_given(value: Any) -> bool:
    return value is not None and value != "" and value != []


def _text(value: Any) -> str:
    """An answer as a text: numbers as they are written, of a list with one answer that one; "" if it is none."""
    if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _decimal(value) if math.isfinite(value) else ""
    return value.strip() if isinstance(value, str) else ""


def _decimal(value: float) -> str:
    """`value` without an exponent and without a decimal that is 0: 18.0 is 18."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _asked(messages: list[Any]) -> str | None:
    """The user's text of a prompt that is one message of a user; None if it is more."""
    if len(messages) != 1 or not isinstance(messages[0], Mapping):
        return None
    message = cast("Mapping[str, Any]", messages[0])
    content = message.get("content")
    return content if message.get("role") == "user" and isinstance(content, str) else None


def _wrong(name: str, value: Any, columns: Mapping[str, Any], option: str) -> str:
    if value is None:
        names = ", ".join(sorted(str(column) for column in columns)) or "none"
        return f"{name!r} is missing. The row's columns are {names}; {option} names the one to take"
    kind = "a non-empty string" if option == "question_column" else "a non-empty string or a number"
    return f"{name!r} must be {kind}, got {value!r}"


def _from_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}, line {number}: no JSON: {error}") from None
        except (OSError, EOFError) as error:
            raise ConfigError(f"{path}, after line {number}: {error}") from None


def _from_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    from datasets import Dataset

    with tempfile.TemporaryDirectory() as cache:
        try:
            rows = Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except Exception as error:  # `datasets` passes on many kinds of exceptions from its readers
            raise ConfigError(f"{path} is not a readable Parquet file: {error}") from None
        for number, row in enumerate(rows, start=1):
            yield f"{path}, row {number}", row


def _from_hub(name: str, subset: str, split: str) -> Iterator[tuple[str, Any]]:
    from datasets import load_dataset

    try:
        rows = load_dataset(name, subset, split=split)
    except Exception as error:  # many kinds: network errors, unknown names, unknown splits
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"the data set {name!r} (subset {subset!r}, split {split!r}) cannot be loaded: {reason}",
            key="dataset",
            value=name,
        ) from None
    for number, row in enumerate(rows, start=1):
        yield f"{name} ({split}), row {number}", row
