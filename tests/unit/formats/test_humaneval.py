import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.formats import program_of
from agent_rl.formats.humaneval import doctest_cases, read_json_lines, read_rows, tasks_from_rows
from agent_rl.vocabulary import AssertTests, CallTests, Case

PROMPT = '''import math


def helper(x):
    return x


def double(x: int) -> int:
    """ Twice x.
    >>> double(2)
    4
    >>> double(-1)
    -2
    """
'''
ROW = {
    "task_id": "T/0",
    "prompt": PROMPT,
    "entry_point": "double",
    "canonical_solution": "    return 2 * helper(x)\n",
    "test": "def check(candidate):\n    assert candidate(3) == 6\n",
}


def lines(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_a_row_becomes_a_task(tmp_path: Path) -> None:
    (task,) = tasks_from_rows(read_rows(lines(tmp_path / "rows.jsonl.gz", ROW)), split="dev")
    assert (task.id, task.split) == ("T/0", "dev")
    assert "```python\nimport math" in task.prompt[0].content
    program = PROMPT + ROW["canonical_solution"]
    assert task.tests == AssertTests("double", ROW["test"], program)
    assert task.public == CallTests("double", (Case((2,), 4), Case((-1,), -2)))
    assert task.oracle is not None
    # The reference is a reply as a model would write it, and stands for a whole program.
    namespace: dict[str, Any] = {}
    exec(program_of(task, task.oracle), namespace)
    assert namespace["double"](5) == 10


def test_prompt_style_complete_is_the_rows_prompt_and_completion(tmp_path: Path) -> None:
    (task,) = tasks_from_rows(read_rows(lines(tmp_path / "rows.jsonl", ROW)), style="complete")
    assert task.prompt[0].content == PROMPT
    assert task.oracle is not None
    assert program_of(task, task.oracle) == PROMPT + ROW["canonical_solution"]


def test_parquet_rows(tmp_path: Path) -> None:
    import datasets

    file = tmp_path / "rows.parquet"
    datasets.disable_progress_bars()
    datasets.Dataset.from_list([ROW, {**ROW, "task_id": "T/1"}]).to_parquet(file)
    assert [r.task_id for r in read_rows(file)] == ["T/0", "T/1"]
    datasets.Dataset.from_list([{"task_id": "T/0"}]).to_parquet(file)
    with pytest.raises(ConfigError, match=r"rows\.parquet:1: 'prompt' is missing"):
        read_rows(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, {k: v for k, v in ROW.items() if k != "test"}], r"rows\.jsonl:2: 'test' is missing"),
        (
            [{**{k: v for k, v in ROW.items() if k != "prompt"}, "promt": ""}],
            r":1: 'prompt' is missing .did you mean 'promt'",
        ),
        ([{**ROW, "prompt": 5}], r"rows\.jsonl:1: 'prompt' should be a string, got int"),
        ([{**ROW, "entry_point": "a.b"}], r"rows\.jsonl:1: 'entry_point' should be a function's name, got 'a\.b'"),
        ([ROW, "", "{"], r"rows\.jsonl:3: no JSON: Expecting property name"),
        (["[" * 100_000], r"rows\.jsonl:1: no JSON: .*recursion"),
        (["[1]"], r"rows\.jsonl:\[0\]: expected a JSON object, got int"),
        (["7"], r"rows\.jsonl:1: expected a JSON object, got int"),
        ([ROW, ROW], r"rows\.jsonl:2: task_id 'T/0' is already in .*rows\.jsonl:1"),
        ([""], r"rows\.jsonl holds no rows"),
    ],
)
def test_malformed_rows_are_named_by_file_and_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_rows(lines(tmp_path / "rows.jsonl", *rows))


@pytest.mark.parametrize("name", ["none.jsonl", "none.jsonl.gz", "none.parquet"])
def test_a_file_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no file {name}"):
        read_rows(name)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ConfigError, match=r"a\.jsonl\.gz cannot be read after line 0: Not a gzipped file"):
        read_rows(tmp_path / "a.jsonl.gz")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 10)[:-9])
    with pytest.raises(ConfigError, match=r"b\.jsonl\.gz cannot be read"):
        list(read_json_lines(tmp_path / "b.jsonl.gz"))
    (tmp_path / "c.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match=r"c\.jsonl cannot be read after line 0: .*utf-8"):
        read_rows(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("docstring", "cases"),
    [
        (">>> f(1, k='a')\n    (1, 'a')", (Case((1,), (1, "a"), {"k": "a"}),)),
        (">>> f([1], {2: None})\n    -1.5", (Case(([1], {2: None}), -1.5),)),
        (">>> f(g(1))\n    1", ()),  # no literal
        (">>> f(*[1])\n    1", ()),
        (">>> f(**{'a': 1})\n    1", ()),
        (">>> g(1)\n    1", ()),
        (">>> x = f(1)\n    >>> x\n    1", ()),
        (">>> f(1)\n    <object>", ()),
        (">>> f(1)\n    Traceback (most recent call last):\n    ValueError: no", ()),
        (">>> f(1)", ()),
        (">>> f(1\n    2\n    >>> f(2)\n    4", (Case((2,), 4),)),
        ("no examples", ()),
    ],
)
def test_doctests_with_literals_become_cases(docstring: str, cases: tuple[Case, ...]) -> None:
    assert doctest_cases(f'def f(x):\n    """ {docstring}\n    """\n', "f") == cases


@pytest.mark.parametrize("prompt", ["def f(", "def g(x):\n    ''\n", "\0", "(" * 5000, "#" * 200_000, ""])
def test_prompts_without_a_readable_docstring_have_no_examples(prompt: str) -> None:
    assert doctest_cases(prompt, "f") == ()
