"""Replies that solve nothing, made from a task's oracle solution. If one of them passes, the tests are vacuous."""

from __future__ import annotations

import ast
import copy
import re
import textwrap
from collections import Counter
from collections.abc import Sequence

from agent_rl.audit.oracle_program import OracleProgram, functions_of, program_in
from agent_rl.audit.shown_examples import entry_point_of, literal, shown_calls, shown_runs
from agent_rl.vocabulary import AnswerTests, CallTests, Case, StdioTests, Task

BODIES = {
    "pass": "pass",
    "return None": "return None",
    "equal to everything": """
class Everything:
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __hash__(self):
        return 0
return Everything()""".strip(),
    "exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
}
PROGRAMS = {"pass": "pass", "exit(0)": BODIES["exit(0)"], "os._exit(0)": BODIES["os._exit(0)"], "a newline": "print()"}
"""For programs that are run as a whole."""
TEXTS = {"empty": "", "None": "None", "no answer": "I do not know.", "exit(0)": "exit(0)"}
SCRIPTS = {"a script that does nothing": "```sh\ntrue\n```", "a script that fails": "```sh\nexit 1\n```"}
"""For agents that answer with a script."""
_TRY_THE_JUDGE = frozenset({"equal to everything", "exit(0)", "os._exit(0)"})
_SHELL = re.compile(r"^[ \t]*```(?:sh|bash|shell)[ \t]*$", re.MULTILINE)
TABLE, CONSTANT = "a table of the public examples", "the public examples' most frequent value"


def stubs_of(task: Task) -> dict[str, str]:
    """Name -> reply, of all replies that solve nothing of `task`. The task must have an oracle solution."""
    assert task.oracle is not None
    if isinstance(task.tests, AnswerTests):
        return dict(TEXTS)
    stubs = stub_replies(task.oracle, entry_point_of(task), shown_calls(task))
    program, runs = program_in(task.oracle), shown_runs(task)
    if program is not None and program.indent is None and runs:
        stubs |= {name: program.reply(ast.parse(text)) for name, text in _from_runs(runs).items()}
    return stubs


def guesses_of(task: Task) -> dict[str, str]:
    """The stubs of `stubs_of` that a policy can find by itself: no reply, None, and the public examples by heart.

    The other stubs attack the judge, not the tests.
    """
    return {name: reply for name, reply in stubs_of(task).items() if name not in _TRY_THE_JUDGE}


def one_expected(task: Task) -> str:
    """The value that all hidden cases expect, if it is the same for all; else empty."""
    tests = task.tests
    if not isinstance(tests, (CallTests, StdioTests)) or tests.comparison == "checker":
        return ""
    values = {repr(case.expected) for case in tests.cases}
    return values.pop() if len(values) == 1 else ""


def stub_replies(oracle: str, entry_point: str | None = None, examples: Sequence[Case] = ()) -> dict[str, str]:
    """Name -> reply. If `oracle` contains functions, each reply is `oracle` with their bodies replaced.

    An oracle solution may be a program, a reply with one fenced block of code, or the indented body of a function that
    the prompt began. For any other (a number, a text) the replies are texts without an answer. Two stubs of the
    function `entry_point` use its `examples`: one answers them from a table, one answers all calls with one value.
    """
    program = program_in(oracle)
    scripts = dict(SCRIPTS) if _SHELL.search(oracle) else {}
    if program is None:
        return TEXTS | scripts
    stubs = {"empty": "", **scripts}
    if not program.functions:
        return stubs | {name: program.reply(ast.parse(text)) for name, text in PROGRAMS.items()}
    for name, body in BODIES.items():
        stubs[name] = program.reply(_with_bodies(program, body))
    for name, body in _from_examples(examples).items():
        tree = _with_answers(program, entry_point, body)
        if tree is not None:
            stubs[name] = program.reply(tree)
    return stubs


def _with_bodies(program: OracleProgram, body: str) -> ast.Module:
    """The program with the body of each of its functions replaced by `body`."""
    tree = copy.deepcopy(program.tree)
    # Functions inside a replaced body disappear with it, so replacing them too does no harm.
    for function in functions_of(tree):
        function.body = _statements(body)
    return tree


def _from_examples(examples: Sequence[Case]) -> dict[str, str]:
    """Function bodies for any arguments, which are available as `__args` and `__kwargs`."""
    if not examples:
        return {}
    written = [(literal(c.args), literal(dict(c.kwargs)), literal(c.expected)) for c in examples]
    rows = [(a, k, v) for a, k, v in written if a is not None and k is not None and v is not None]
    if not rows:
        return {}
    table = ", ".join(f"({a}, {k}, {v})" for a, k, v in rows)
    lookup = f"for __a, __k, __v in [{table}]:\n    if (__a, __k) == (__args, __kwargs):\n        return __v"
    constant = Counter(v for _, _, v in rows).most_common(1)[0][0]
    return {TABLE: lookup, CONSTANT: f"return {constant}"}


def _from_runs(runs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Whole programs that know the outputs of `runs`."""
    table = f"import sys\nsys.stdout.write({dict(runs)!r}.get(sys.stdin.read(), ''))"
    constant = Counter(out for _, out in runs).most_common(1)[0][0]
    return {TABLE: table, CONSTANT: f"import sys\nsys.stdout.write({constant!r})"}


def _with_answers(program: OracleProgram, entry_point: str | None, body: str) -> ast.Module | None:
    """The program with `body` in the function `entry_point`; None if it does not define it at top level."""
    tree = copy.deepcopy(program.tree)
    if program.indent is not None:
        # The function's head is in the prompt, so its arguments are the only local names at the start of the body.
        (function,) = (f for f in tree.body if isinstance(f, ast.FunctionDef))
        function.body = _statements("__args, __kwargs = tuple(locals().values()), {}\n" + body)
        return tree
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == entry_point:
            (taking_all,) = ast.parse("def f(*__args, **__kwargs): pass").body
            assert isinstance(taking_all, ast.FunctionDef)
            function.args, function.body = taking_all.args, _statements(body)
            return tree
    return None


def _statements(body: str) -> list[ast.stmt]:
    (function,) = ast.parse("def f():\n" + textwrap.indent(body, "    ")).body
    assert isinstance(function, ast.FunctionDef)
    return function.body
