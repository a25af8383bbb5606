"""Rows with `question` and `answer` (GSM8K's schema) from a file or the hub. Errors name file and line of a bad row."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent_rl import ConfigError

_FILES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


def read_questions(source: str, subset: str, split: str) -> list[tuple[str, str]]:
    """(question, answer) of every row of `split`. `{split}` in a file's name stands for the split.

    Raises ConfigError for a missing file, a malformed row, or a data set that cannot be loaded.
    """
    if not source.endswith(_FILES):
        rows = _from_hub(source, subset, split)
    else:
        path = Path(source.replace("{split}", split)).expanduser()
        if not path.is_file():
            raise ConfigError(f"there is no file {path}", key="dataset", value=source)
        rows = _from_parquet(path) if path.suffix == ".parquet" else _from_jsonl(path)
    questions = [_checked(where, row) for where, row in rows]
    if not questions:
        raise ConfigError(f"{source} holds no rows for the split {split!r}", key="dataset")
    return questions


def _checked(where: str, row: Any) -> tuple[str, str]:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where}: expected an object with question and answer, got {type(row).__name__}")
    for key in ("question", "answer"):
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            kind = "is missing" if value is None else f"must be a non-empty string, got {value!r}"
            raise ConfigError(f"{where}: {key!r} {kind}")
    return row["question"], row["answer"]


def _from_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
