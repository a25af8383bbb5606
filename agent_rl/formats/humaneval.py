"""Rows in the HumanEval schema: reads and checks them, and makes tasks from them."""

from __future__ import annotations

import ast
import doctest
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from agent_rl.errors import ConfigError
from agent_rl.formats.invalid_rows import InvalidRows, usable
from agent_rl.formats.json_text import TooLong, parse_json
from agent_rl.vocabulary import AssertTests, CallTests, Case, Limits, Message, Task
from agent_rl.vocabulary.canonical import NotCanonical, encode

PromptStyle = Literal["instruct", "complete"]
"""How `read_tasks` prompts for HumanEval's functions: as an instruction, or as the beginning of a program."""
"""instruct: a request to complete the function, in a fence | complete: the row's prompt as it is."""

_MAX_PROMPT_CHARS = 1 << 17


@dataclass(frozen=True, slots=True)
class HumanEvalRow:
    """One row of the data set; `where` is its file and line."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str
    where: str = ""


def read_rows(source: str | Path, split: str = "test") -> list[HumanEvalRow]:
    """The rows of a file (.jsonl, .jsonl.gz, .json.gz, .parquet), or of a `split` of a data set on a hub.

    Raises ConfigError for a malformed row or a repeated task_id (it names file and line), or an unreadable source.
    """
    rows: list[HumanEvalRow] = []
    seen: dict[str, str] = {}
    for where, content in read_contents(str(source), split):
        row = row_of(content, where)
        if row.task_id in seen:
            raise ConfigError(f"{where}: task_id {row.task_id!r} is already in {seen[row.task_id]}", key="task_id")
        seen[row.task_id] = where
        rows.append(row)
    if not rows:
        raise ConfigError(f"{source} holds no rows")
    return rows


def read_json_lines(path: str | Path, invalid: InvalidRows | None = None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("file:line", object) of each line that is not blank, or ("file:[index]", object) if the file is one array.

    Raises ConfigError for anything that is not a JSON object; with `invalid`, such a line is left out and added to it.
    """
    path = Path(path)
    line_number, first = 0, True
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line_number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}:{line_number}"
                if first and line.lstrip().startswith(b"["):
                    array = _decoded(line + file.read(), where)
                    rows = ((f"{path}:[{n}]", row) for n, row in enumerate(array))
                    yield from usable(rows, lambda row, at: (at, _object(row, at)), invalid)
                    return
                first = False
                yield from usable([(where, line)], lambda text, at: (at, _object(_decoded(text, at), at)), invalid)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read after line {line_number}: {error}") from None


def _decoded(text: bytes, where: str) -> Any:
    try:
        return parse_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        path, _, line = where.rpartition(":")
        raise ConfigError(f"{path} cannot be read after line {int(line) - 1}: {error}") from None
    except (ValueError, RecursionError) as error:
        kind = "an integer that is too long" if isinstance(error, TooLong) else "no JSON"
        raise ConfigError(f"{where}: {kind}: {error}") from None


def _object(content: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a JSON object, got {type(content).__name__}")
    return cast("dict[str, Any]", content)


def read_contents(
    source: str, split: str, invalid: InvalidRows | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("file:line", row) of each row of a file or a hub's data set, unchanged. Raises ConfigError.

    With `invalid`, lines that are no JSON object are left out and added to it.
    """
    path = Path(source)
    if path.suffix == ".parquet":
        yield from _through_datasets(source, split, parquet=True)
    elif path.suffix in (".jsonl", ".json", ".gz") or path.exists():
        yield from read_json_lines(path, invalid)
    else:
        yield from _through_datasets(source, split, parquet=False)


def _through_datasets(source: str, split: str, *, parquet: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a Parquet file or a hub's data set. A data set's loading script is never run."""
    if parquet and not Path(source).is_file():
        raise ConfigError(f"there is no file {source}")
    import datasets  # slow to import, and not needed for JSON lines

    try:
        if parquet:
            rows: Any = datasets.Dataset.from_parquet(source, keep_in_memory=True)
        else:
            rows = datasets.load_dataset(source, split=split)
        for number, content in enumerate(rows, 1):
            yield f"{source}:{number}" if parquet else f"{source}[{split}]:{number}", content
    except ConfigError:
        raise
    except Exception as error:
        what = "cannot be read" if parquet else "is not a file here, and cannot be loaded as a data set"
        raise ConfigError(f"{source} {what}: {type(error).__name__}: {error}") from None


def row_of(content: Mapping[str, Any], where: str) -> HumanEvalRow:
    """The row, checked. Raises ConfigError that says `where`."""
    fields: dict[str, str] = {}
    for name in ("task_id", "prompt", "entry_point", "canonical_solution", "test"):
        if name not in content:
            raise ConfigError(f"{where}: {name!r} is missing", value=name, valid=content)
        if not isinstance(content[name], str):
            raise ConfigError(f"{where}: {name!r} should be a string, got {type(content[name]).__name__}")
        fields[name] = content[name]
    if not fields["entry_point"].isidentifier():
        raise ConfigError(f"{where}: 'entry_point' should be a function's name, got {fields['entry_point']!r}")
    return HumanEvalRow(**fields, where=where)


def tasks_from_rows(
    rows: Iterable[HumanEvalRow], *, split: str = "test", style: PromptStyle = "instruct", limits: Limits | None = None
) -> list[Task]:
    """A task for each row. Its tests are still code (`Verifier.prepare` records them). Doctests are public cases."""
    return [_task(row, split, style, limits or Limits()) for row in rows]


def _task(row: HumanEvalRow, split: str, style: PromptStyle, limits: Limits) -> Task:
    program = row.prompt + row.canonical_solution
    if style == "instruct":
        prompt = (
            "Complete the following Python function. Answer with the whole function in one ```python block.\n\n"
            f"```python\n{row.prompt.rstrip()}\n```"
        )
        oracle = f"```python\n{program.rstrip()}\n```"
    else:
        prompt, oracle = row.prompt, row.canonical_solution
    cases = doctest_cases(row.prompt, row.entry_point)
    return Task(
        id=row.task_id,
        prompt=(Message.user(prompt),),
        tests=AssertTests(row.entry_point, row.test, program),
        public=CallTests(row.entry_point, cases) if cases else None,
        oracle=oracle,
        limits=limits,
        split=split,
        metadata={"prompt": row.prompt, "entry_point": row.entry_point},
    )


def doctest_cases(prompt: str, entry_point: str) -> tuple[Case, ...]:
    """The docstring's examples `>>> entry_point(literals)` with a literal value; other examples are skipped."""
    cases: list[Case] = []
    for example in _examples(prompt, entry_point):
        case = _literal_case(example, entry_point)
        if case is not None:
            cases.append(case)
    return tuple(cases)


def _examples(prompt: str, entry_point: str) -> Sequence[doctest.Example]:
    if len(prompt) > _MAX_PROMPT_CHARS:
        return ()
    try:
        functions = [n for n in ast.walk(ast.parse(prompt)) if isinstance(n, ast.FunctionDef) and n.name == entry_point]
        text = ast.get_docstring(functions[-1]) if functions else None
        return doctest.DocTestParser().get_examples(text or "")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ()


def _literal_case(example: doctest.Example, entry_point: str) -> Case | None:
    try:
        call = ast.parse(example.source.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == entry_point):
            return None
        args = tuple(ast.literal_eval(a) for a in call.args)
        kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        if len(kwargs) != len(call.keywords) or example.exc_msg is not None:
            return None
        case = Case(args, ast.literal_eval(example.want.strip()), kwargs)
        encode([case.args, dict(case.kwargs), case.expected])
        return case
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, NotCanonical):
        return None
