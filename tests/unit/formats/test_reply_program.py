"""Which program a reply means. Each input is one that models write; right next to it are those that must stay."""

from __future__ import annotations

from typing import Any

import pytest

from agent_rl import CallTests, Case, Message, PytestTests, StdioCase, StdioTests, Task, program_of
from agent_rl.formats.reply_program import WantedProgram, program_in
from agent_rl.formats.wanted_names import wanted_names
from agent_rl.vocabulary import AssertTests, ScriptTests
from tests.unit.formats.reply_forms import (
    COMPLETION,
    FUNCTION,
    MODULE,
    PROMPT,
    WHOLE,
    F,
    common_forms,
    fenced,
    indented,
)

PROGRAM = "n = int(input())\nprint(n * 2)\n"
DOCSTRING = 'def f(xs):\n    """Add.\n\n{0}```\n{0}f([1])\n{0}```\n    """\n    return sum(xs)\n'

FENCES = {
    **common_forms(F, "python", "def f(x): return 0\n"),
    "closed in a line of code, then prose": f"```python\n{F.rstrip()}```\nDone.",
    "a template's token behind code without a fence": f"{F.rstrip()}<|im_end|>",
    "another name of Python": fenced(F, "``` Python3"),
    "attributes": fenced(F, "```{.python .numberLines}"),
    "a byte order mark": "\ufeff" + F,
    "a byte order mark in the fence": fenced("\ufeff" + F),
    "in a list after a tab": "1.\tThe code:\n\n" + indented(fenced(F), "\t"),
    "in a list in a list": "- a\n  1. b\n\n" + indented(fenced(F), "     "),
    "indented by eight": indented(fenced(F), "        "),
    "code indented in its fence": fenced(indented(F, "    ")),
    "a list's fence around code that is not indented": f"1. The code:\n   ```python\n{F}   ```\n",
    "opened in a line of prose": f"Here: ```python\n{F}```",
    "a lone closing fence": f"{F}```",
    "a lone closing fence, then prose": f"{F}```\nIt adds.\n",
    "a lone closing fence, then an example": f"{F}```\n\nExample:\n```\n3\n```\n",
    "inside of Markdown's own block": "```markdown\n" + fenced(F) + "```\n",
    "inside of tags": f"<answer>\n{fenced(F)}</answer>",
    "right after a tag": f"<answer>{fenced(F)}</answer>",
    "between rules": f"***\n{fenced(F)}---\n",
    "a wrong language": fenced(F, "```java"),
    "a lost fence's language": f"python\n{F}```",
    "no fence": F,
    "marks of a few-shot prompt": f"[BEGIN]\n{F}[DONE]",
    "prose around": f"Sure, it's here:\n\n{F}\nIt isn't slow: O(n).\n",
    "prose around, and output": f"Sure (it is short):\n\n{F}\nOutput:\n6\n",
    "the language inside of the fence": fenced(f"python\n{F}", "```"),
    "the language twice": fenced(f"Python3\n{F}"),
    "a broken block before": fenced("def f(xs:\n") + "Fixed:\n" + fenced(F),
    "a broken block behind": fenced(F) + fenced("def f(xs:\n"),
    "too deep a block before": fenced("x = " + "(" * 9000 + "\n") + fenced(F),
    "usage behind": fenced(F) + fenced("print(f([1]))\n"),
    "usage that assigns the name": fenced(F) + fenced("f = f([1])\n"),
    "a test behind": fenced(F) + fenced("def test_f():\n    assert f([1]) == 1\n"),
    "its signature behind": fenced(F) + fenced('def f(xs):\n    """Adds."""\n    ...\n'),
    "output behind": fenced(F) + "```\n6\n```\n",
    "JSON behind": fenced(F) + fenced('{"f": 1}\n', "```json"),
    "shell behind": fenced(F) + fenced("python3 a.py\n", "```bash"),
    "a diff behind": fenced(F) + fenced("- f\n+ g\n", "```diff"),
    "a tag on the code's line": f"<solution>{F}</solution>",
    "a tag in prose": f"Here <code>{F}</code> is it.",
    "HTML's tags": f'<pre><code class="language-python">{F}</code></pre>',
    "Markdown's indented code": "Solution:\n\n" + indented(F, "    ") + "\nDone.",
    "prose behind that is an annotation": f"{F}\nTime: O(n)\nSpace: O(1)\n",
    "a heading behind, and prose that is a call": f"{F}\n## Complexity\n\nO(1)\n",
    "tokens behind a fence that is not closed": f"```python\n{F.rstrip()}</s> <|endoftext|>\n",
    "a button of a page": fenced(f"python\nCopy code\n{F}", "```"),
    "thinking that names its end": f"<think>\nI end with </think> then.\n```python\nfoo(\n</think>\n{fenced(F)}",
    "thinking, then no fence": f"[THINK]a[/THINK]{F}",
}


@pytest.mark.parametrize("reply", FENCES.values(), ids=FENCES.keys())
def test_a_function_is_found_in_whatever_form_it_is_written(reply: str) -> None:
    assert program_in(reply, FUNCTION).strip() == F.strip()
    # A module without a known name is found in the same way. A lone assignment to `f` is a name too.
    if "f = " not in reply and "signature" not in reply:
        assert "return sum(xs)" in program_in(reply, MODULE)


OWN_FENCES = {
    "unfenced": DOCSTRING.format("    "),
    "unfenced, then prose": DOCSTRING.format("    ") + "\nIt adds.",
    "fenced": fenced(DOCSTRING.format("    ")),
    "fenced, at the margin": fenced(DOCSTRING.format("")),
    "and a block behind": fenced(DOCSTRING.format("")) + "Output:\n```\n6\n```\n",
    "and usage behind": fenced(DOCSTRING.format("")) + fenced("print(f([1]))\n"),
    "four backticks": fenced(DOCSTRING.format(""), "````", "````"),
}


@pytest.mark.parametrize("reply", OWN_FENCES.values(), ids=OWN_FENCES.keys())
def test_a_docstring_may_hold_fences(reply: str) -> None:
    assert "```\n" in program_in(reply, FUNCTION)
    assert program_in(reply, FUNCTION).rstrip().endswith("return sum(xs)")


def test_what_other_blocks_define_is_put_before() -> None:
    helper = "import math\n\n@cached\ndef h(x):\n    return math.sqrt(x)\n\nprint(h(3))\n"
    reply = fenced("from functools import cache as cached\n") + fenced(helper) + "then\n"
    reply += fenced("from __future__ import annotations\nK = 2\n\ndef f(xs: List):\n    return h(xs) + K\n")
    assert program_in(reply, FUNCTION) == (
        "from __future__ import annotations\n\nfrom functools import cache as cached\n\nimport math\n\n"
        "@cached\ndef h(x):\n    return math.sqrt(x)\n\npass\nK = 2\n\ndef f(xs: List):\n    return h(xs) + K\n"
    )
    # The last definition before the block counts; one behind it only if there is none before.
    twice = fenced("def h(x): return 1\n") + fenced("def h(x): return 2\n")
    assert "return 2" in program_in(twice + fenced("def f(x): return h(x)\n") + fenced("def h(x): 3\n"), FUNCTION)
    assert "return 1" not in program_in(twice + fenced("def f(x): return h(x)\n"), FUNCTION)
    behind = program_in(fenced("def f(x): return h(x)\n") + fenced("def h(x): return 3\nf(1)\n"), FUNCTION)
    assert behind == "def h(x): return 3\n\ndef f(x): return h(x)\n"
    # What the task gives is not taken from the reply.
    given = WantedProgram(frozenset({"f"}), known=frozenset({"h"}))
    assert program_in(twice + fenced("def f(x): return h(x)\n"), given) == "def f(x): return h(x)\n"


def test_a_star_import_of_another_block_is_kept_where_a_name_is_bound_nowhere_else() -> None:
    star, helper = "from operator import *\n", "def h(x): return add(x, 1)\n"
    f = "def f(x): return h(x)\n"
    assert program_in(fenced(star) + fenced(helper) + fenced(f), FUNCTION) == f"{star}\n{helper}\n{f}"
    assert program_in(fenced(star) + fenced("def f(x): return x\n"), FUNCTION) == "def f(x): return x\n"


@pytest.mark.parametrize(
    "program",
    [
        f"{F}\nlimit: int\n",
        f"{F}\n# the example\nprint(f([1]))\n",
        f"{F}\nfoo(1)\n",
        f"from typing import *\n{F}\nxs: List\n",
        f"{F}\n# Complexity\nO = f([1])\n",
        f'{F}\nhtml = """\n<code>x</code>\n</s>"""\n',
    ],
)
def test_a_program_without_a_fence_keeps_what_is_no_prose(program: str) -> None:
    assert program_in(program, FUNCTION) == program


def test_a_class_of_methods_and_several_names() -> None:
    solution = "class Solution:\n    def f(self, x):\n        return Node()\n"
    reply = fenced("class Node:\n    pass\n") + fenced(solution) + fenced("s = Solution()\nprint(s.f(1))\n")
    assert program_in(reply, FUNCTION) == f"class Node:\n    pass\n\n{solution}"
    tests = "class TestF:\n    def f(self):\n        return 1\n"
    assert program_in(fenced(F) + fenced(tests), FUNCTION) == F
    both = WantedProgram(frozenset({"A", "b"}))
    reply = fenced("class A:\n    x = 1\n") + fenced("def b():\n    return A()\n") + fenced("print(b())\n")
    assert program_in(reply, both) == "class A:\n    x = 1\n\ndef b():\n    return A()\n"


@pytest.mark.parametrize("code", ["async def f(x): return 1\n", "f = lambda x: 1\n", "import h\nf = h.f\n"])
def test_other_ways_to_define_a_function(code: str) -> None:
    assert program_in(fenced("def f(x):\n    ...\n") + fenced(code) + fenced("assert f(1)\n"), FUNCTION) == code


@pytest.mark.parametrize(
    "code",
    [
        'def f(d):\n    a = 1\n    return f"{d["a"]} {a}"\n',
        "def f(xs):\n    return f\"{'\\n'.join(xs)}\"\n",
        "type Xs = list[int]\n\ndef f[T](xs: T) -> Xs:\n    return xs\n",
    ],
)
def test_syntax_that_is_newer_than_this_interpreters_is_read_too(code: str) -> None:
    assert program_in(fenced("def f(x): return 0\n") + fenced(code) + fenced("print(f(1))\n"), FUNCTION) == code
    assert program_in(f"It is:\n\n{code}\nDone (it works).", FUNCTION).strip() == code.strip()


ACTING = {
    "then output": fenced(PROGRAM) + "```\n6\n```\n",
    "then output like code": fenced(PROGRAM) + "```\nPoint(1, 2)\nTotal = 6\n```\n",
    "then input": fenced(PROGRAM) + fenced("3\n1 2 3\n", "```text"),
    "then JSON": fenced(PROGRAM) + fenced('{"a": true}\n', "```"),
    "then shell": fenced(PROGRAM) + fenced("ls\n", "```") + fenced("python3 a.py < in\n", "```"),
    "then usage of what is not there": fenced(PROGRAM) + fenced("print(solve([1]))\n"),
    "then an example that reads nothing": fenced(PROGRAM) + fenced("print(sum([1]))\n"),
    "after a wrong one": fenced("print(0)\n") + fenced(PROGRAM),
    "after output": "```\n6\n```\n" + fenced(PROGRAM),
    "a lone closing fence": PROGRAM + "```",
    "no fence, prose around": f"The program:\n\n{PROGRAM}\nIt doubles.\n\nOutput:\n6\n",
    "thinking": f"<think>\n```\n</think>\n{fenced(PROGRAM)}```\n6\n```",
}


@pytest.mark.parametrize("reply", ACTING.values(), ids=ACTING.keys())
def test_a_whole_program_is_the_block_that_acts(reply: str) -> None:
    assert program_in(reply, WHOLE).strip() == PROGRAM.strip()


def test_a_whole_program_in_steps_and_one_that_reads_nothing() -> None:
    steps = ("n = int(input())\nxs = []\nfor _ in range(n):\n    xs.append(input())\n", "print(xs)\n")
    assert program_in("".join(map(fenced, steps)), WHOLE) == f"{steps[0]}\n{steps[1]}"
    called = ("def solve():\n    print(input())\n", 'if __name__ == "__main__":\n    solve()\n')
    assert program_in("".join(map(fenced, called)) + "```\nYES\n```", WHOLE) == f"{called[0]}\n{called[1]}"
    whole = "def solve():\n    print(input())\n\nsolve()\n"
    assert program_in(fenced(whole) + fenced("solve()\n"), WHOLE) == whole
    assert program_in(fenced("print('Hello')\n") + "```\nHello\n```\n", WHOLE) == "print('Hello')\n"


BODY = "    return sum(xs)\n"
BODIES = {
    "a body": BODY,
    "a body, then prose": f"{BODY}\nThis adds up.\n",
    "a body, then a lone fence": f"{BODY}```\nfoo",
    "a body, then an example": f"{BODY}\nUse:\n" + fenced("print(f([1]))\n"),
    "a body inside of prose": f"Here is the body:\n\n{BODY}\nIt works.",
    "a body inside of prose, with empty lines": f"It is:\n\n    t = 0\n\n    for x in xs:\n        t += x\n{BODY}\nSo.",
    "a body inside of prose, deeper": "It is:\n\n        t = sum(xs)\n        return t\n\nIt works.",
    "a body inside of prose, then an example": f"It is:\n\n{BODY}\nFor example\n\n    f([1])\n\nis 1.",
    "a body inside of prose, then a fenced example": f"It is:\n\n{BODY}\nUse:\n" + fenced("print(f([1]))\n"),
    "a body in a fence": fenced(BODY),
    "a body in a fence, without its indentation": fenced("t = 0\nfor x in xs:\n    t += x\nreturn t\n"),
    "a body without its first indentation": "t = 0\n    for x in xs:\n        t += x\n    return t",
    "a body of one line, stripped": "return sum(xs)",
    "a body after thinking": f"<think>a</think>\n{BODY}",
    "a body, then another function": f"{BODY}\n\ndef h():\n    pass\n",
    "a body, then a function that is not finished": f"{BODY}\n\ndef h(x):\n    y = x\n    return [\n        x,\n",
    "a body, then a decorator and a string without an end": f'{BODY}\n@g\ndef h(x):\n    """Doc',
    "a body, then a class without a body": f"{BODY}\n\nclass C:\n\n",
    "the function, then one that is not finished": f"{F}\n\ndef h(x):\n    return [\n",
    "prompt and body": PROMPT + BODY,
    "prompt and body in a fence": fenced(PROMPT + BODY),
    "the function": F,
    "the function in a fence": f"Sure:\n\n{fenced(F)}\nDone.",
    "the function and a lone fence": f"{F}```\n",
    "the future": f"from __future__ import annotations\n{F}",
    "the future after a docstring": f'"""é"""; from __future__ import (\n  annotations,\n); import os\n{F}',
}


@pytest.mark.parametrize("completion", BODIES.values(), ids=BODIES.keys())
def test_a_completion_continues_or_replaces_the_prompt(completion: str) -> None:
    program = program_in(completion, COMPLETION)
    namespace: dict[str, Any] = {}
    exec(compile(program, "a", "exec", dont_inherit=True), namespace)
    assert namespace["f"]([1, 2]) == 3
    assert namespace["g"](1) == 1


def test_what_is_no_program_stays_what_it_is() -> None:
    assert program_in("I cannot do that.", FUNCTION) == "I cannot do that."
    assert program_in("", FUNCTION) == ""
    assert program_in("I cannot do that.", COMPLETION) == f"{PROMPT}I cannot do that."
    in_prose = "Here:\n\n    I add them all\n\nDone."
    assert program_in(in_prose, COMPLETION) == f"{PROMPT}{in_prose}"
    assert program_in(fenced("def f(:\n"), FUNCTION) == "def f(:\n"
    # A body whose own line is wrong is not cut to what is right before it.
    assert (
        program_in("    t = 0\n    t +=\n    return t\n", COMPLETION) == f"{PROMPT}    t = 0\n    t +=\n    return t\n"
    )
    assert program_in("def f(x):\n    t = 0\n    t +=\n    return t\n", FUNCTION).startswith(
        "def f(x):\n    t = 0\n    t +="
    )


def test_what_was_only_thought_or_taken_back_is_not_the_answer() -> None:
    wrong = "def f(xs):\n    return 0\n"
    for wanted in (FUNCTION, MODULE, COMPLETION):
        assert "sum" not in program_in(f"<think>\n{fenced(F)}</think>\nI do not know.", wanted)
        assert "sum" not in program_in(f"{fenced(F)}</think>\n{fenced(wrong)}", wanted)
        assert "sum" not in program_in(fenced(F) + "Shorter:\n" + fenced(wrong), wanted)
    assert "input" not in program_in(f"<think>\n{fenced(PROGRAM)}</think>\n{fenced('print(1)')}", WHOLE)


def test_long_and_hostile_replies_end() -> None:
    replies = ["```" * 9000, "```\n" * 2000, "`" * 30000, fenced("x\n" * 2000), "</think>\n" * 9000, "> " * 9000]
    replies += ["- " * 9000, "x = 1\n$\n" * 900, "```python\n'''\n```\n" * 200, "`" + " " * 30000, "(" * 30000]
    replies += ["".join(f"{n} x = 1\n" for n in range(2000)), ">>> x\n" * 2000, "1 a\n" * 2000, ">>> def f(:\n" * 2000]
    replies += [fenced(">>> x = 1\n") * 500, fenced("1 x\n2 y\n") * 500, "Action: a\n" * 3000, "1. a\n" * 9000]
    for reply in replies:
        for wanted in (FUNCTION, WHOLE, COMPLETION):
            assert isinstance(program_in(reply, wanted), str)


def test_the_names_that_tests_take_from_a_module() -> None:
    files = {
        "test_a.py": b"from pkg.mod import A, b as c\nfrom pkg import mod\nimport other\nmod.d(other.e, A.x)\n",
        "test_b.py": b"import pkg.mod as m\nimport pkg.mod\n\ndef test():\n    m.g(); pkg.mod.h()\n",
        "broken_test.py": b"import (",
        "data.txt": b"from pkg.mod import nothing\n",
    }
    assert wanted_names(PytestTests(files, module="pkg.mod")) == {"A", "b", "d", "g", "h"}
    assert wanted_names(AssertTests("f", "", "")) == {"f"}
    assert wanted_names(ScriptTests({})) == frozenset()


def test_a_task_says_what_is_wanted_and_what_stands_around_it() -> None:
    def task(tests: Any, **metadata: Any) -> Task:
        return Task(id="t", prompt=(Message.user("q"),), tests=tests, metadata={"format": "x", **metadata})

    calls = CallTests("f", (Case((1,), 1),))
    assert program_of(task(calls), fenced(F) + fenced("print(f(1))\n")) == F
    after = program_of(task(calls, before="import a", after="\n\nx = 1\n"), f"from __future__ import annotations\n{F}")
    assert after == f"from __future__ import annotations\n\nimport a\n\npass\n{F}\n\nx = 1\n"
    stdio = StdioTests((StdioCase("1", "2"),))
    assert program_of(task(stdio), fenced(PROGRAM) + "```\n6\n```") == PROGRAM
    files = PytestTests({"test_a.py": b"from solution import f\n"})
    assert program_of(task(files), fenced(F) + fenced("def g(): return 1\n")) == F
