"""Programs that a reply mixes with something else: indentation, JSON, line numbers, sessions, other languages."""

from __future__ import annotations

import json

import pytest

from agent_rl.formats.reply_program import program_in
from tests.unit.formats.test_reply_program import FUNCTION, PROGRAM, WHOLE, F, fenced, indented

GLUED = {
    "below a line of prose": f"The code:\n{indented(F, '    ')}",
    "after a tab": f"The code:\n{indented(F, chr(9))}",
    "below a paragraph, with prose after it": f"I add them\n\n{indented(F, '    ')}\nThat is all.\n",
    "with a use of it after it": f"The code:\n{indented(F, '    ')}and its use:\n    print(f([1]))\n",
    "as a string of JSON": json.dumps(F),
    "as a field of JSON": json.dumps({"why": "it adds", "code": F}),
    "as an argument in a fence": fenced(json.dumps({"name": "submit", "arguments": {"code": F}}) + "\n", "```json"),
    "in a fence in JSON": json.dumps({"answer": f"I add:\n{fenced(F)}It is short."}),
    "beside a fence in JSON": json.dumps({"why": fenced("def f(xs):\n    return 0\n"), "code": F}),
    "twice in JSON": json.dumps({"code": F, "final": F}),
    "in a list in JSON": json.dumps({"files": [{"path": "a.py", "content": F}]}),
    "in JSON with bare line ends": json.dumps({"code": F}).replace("\\n", "\n"),
    "with numbers": fenced("1  def f(xs):\n2      return sum(xs)\n"),
    "with numbers and colons": fenced("1: def f(xs):\n2:     return sum(xs)\n"),
    "with numbers and bars": fenced(" 9 | def f(xs):\n10 |     return sum(xs)\n", "```"),
    "with numbers of another width": fenced("9  def f(xs):\n10      return sum(xs)\n"),
    "with numbers and points": fenced("1. def f(xs):\n2.     return sum(xs)\n"),
    "with numbers and no fence": "It is:\n\n1\tdef f(xs):\n2\t    return sum(xs)\n\nIt adds.\n",
    "in a session": fenced(">>> def f(xs):\n...     return sum(xs)\n...\n>>> f([1, 2])\n3\n"),
    "in a session with an error": fenced(
        ">>> def f(xs):\n...     return sum(xs)\n>>> f(1)\nTypeError: no\n", "```pycon"
    ),
    "in a session without a fence": ">>> def f(xs):\n...     return sum(xs)\n...\n>>> f([1])\n1\n",
    "in a session that goes on without prompts": fenced(">>> def f(xs):\n    return sum(xs)\n\n>>> f([1])\n1\n"),
    "in IPython": fenced("In [1]: def f(xs):\n   ...:     return sum(xs)\n   ...:\n\nIn [2]: f([1])\nOut[2]: 1\n"),
    "before a session that uses it": fenced(F) + fenced(">>> f([1])\n1\n"),
    "before a session that defines another": fenced(F) + fenced(">>> def f(xs):\n...     return 0\n"),
    "behind numbered output": fenced("1 6\n2 7\n", "```") + fenced(F),
    "in a list of languages": f"- JavaScript:\n\n{indented(fenced('function f(xs) {}', '```js'), '  ')}\n- Python:\n\n"
    + indented(fenced(F), "  ")
    + f"\n- Ruby:\n\n{indented(fenced('def f(xs)', '```ruby'), '  ')}\n",
}


@pytest.mark.parametrize("reply", GLUED.values(), ids=GLUED.keys())
def test_code_that_something_else_is_mixed_with_is_read(reply: str) -> None:
    assert program_in(reply, FUNCTION).strip() == F.strip()


UNCLEAR = {
    "below a broken class": f"class Solution(:\n{indented(F, '    ')}",
    "below a broken condition": f"if x y:\n{indented(F, '    ')}",
    "inside of an open bracket": f"foo(\n{indented(F, '    ')}",
    "two programs in JSON": json.dumps([F, F.replace("sum", "len")]),
    "two named programs in JSON": json.dumps({"wrong": F.replace("sum", "len"), "right": F}),
    "two programs in fences in JSON": json.dumps({"wrong": fenced(F.replace("sum", "len")), "right": fenced(F)}),
    "numbers that leave one out": "1 def f(xs):\n3     return sum(xs)\n",
    "a session of use alone": ">>> f([1])\n1\n>>> from a import g\n",
    "broken JSON": json.dumps({"code": F})[:-1],
    "JSON in prose": f"The answer is {json.dumps({'code': F})}",
}


@pytest.mark.parametrize("reply", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_what_may_mean_several_programs_stays_what_it_is(reply: str) -> None:
    assert program_in(reply, FUNCTION) == reply


def test_a_whole_program_is_found_in_json_and_below_prose() -> None:
    assert program_in(json.dumps({"code": PROGRAM}), WHOLE) == PROGRAM
    assert program_in(fenced("1 n = int(input())\n2 print(n * 2)\n"), WHOLE) == PROGRAM
    column = "8   def f(xs):\n9       t = sum(xs)\n10      return t\n"
    assert program_in(fenced(column), FUNCTION) == "def f(xs):\n    t = sum(xs)\n    return t\n"
    session = fenced(f">>> {PROGRAM.splitlines()[0]}\n>>> {PROGRAM.splitlines()[1]}\n6\n")
    assert program_in(session, WHOLE) in session  # what it shows is no program
    assert program_in(f"The program:\n{indented(PROGRAM, '    ')}", WHOLE).strip() == PROGRAM.strip()
