"""Rows in MBPP's schema: `text` (or `prompt`), `code`, `test_list`, and `test_setup_code` and `test_imports`.

Asserts about one function become the body of a `check(candidate)`, which is recorded as cases (tier `values`). If its
values cannot be recorded, it is judged at tier `proxied` (`Verifier.prepare` decides). Dataclass instances count as
values and may appear in the asserts. Asserts about several functions, another class, a value, or an effect of a
function other than its result become a pytest file (tier `proxied`).

Setup code is given to the program and to the tests, as if all of it ran in one module. Setup that uses `code` (such as
a tree built from its nodes) is given to the tests alone. The prompt shows the first assert, because it shows how the
function is called; this assert is the public test and also one of the hidden tests. `challenge_test_list` is not
judged, as in the published evaluations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from agent_rl.formats.judging_keys import check_keys, limits_of, refuse_rules
from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.formats.starter_code import shown
from agent_rl.formats.vacuous_tests import check_statements, parsed_field
from agent_rl.joined_programs import joined
from agent_rl.python_names import defined_by, names_used
from agent_rl.vocabulary import AssertTests, CallTests, Case, Limits, Message, PytestTests, Task
from agent_rl.vocabulary.canonical import NotCanonical, encode

_MAX_CHARS = 1 << 18
_FOR_TESTS = frozenset({"pytest", "unittest"})
"""Modules that a program under test does not need."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row's code, parsed. before: the setup that every program gets; own: the setup that only the tests get."""

    code: str
    program: ast.Module
    tests: list[ast.Module]
    before: str
    own: list[ast.stmt]
    defined: set[str]

    @property
    def oracle(self) -> str:
        """A complete program."""
        return joined(self.before, f"{self.code}\n")

    @property
    def used(self) -> set[str]:
        """The names defined by the code that the tests, or the setup for the tests alone, use."""
        trees = [*self.tests, *self.own]
        return self.defined & (set[str]().union(*map(names_used, trees)) - set[str]().union(*map(_stored, trees)))


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    check_keys(row, ("test_setup_code", "test_imports", "starter_code"), free=("atol",))
    refuse_rules(row, "MBPP's asserts compare by themselves")
    texts = row.texts("test_list")
    if not texts:
        raise row.wrong("'test_list' is empty: every program would pass")
    parts = _parts(row, texts)
    check_statements(row, "test_list", parts.tests, [*parts.own, *ast.parse(parts.before).body])
    used = parts.used
    if not used:
        known = ", ".join(sorted(parts.defined)) or "nothing"
        raise row.wrong(f"no test uses what 'code' defines ({known})")
    tested = used - _dataclasses(parts.program)
    entry_point = next(iter(tested)) if len(tested) == 1 and _is_only_called(parts, *tested) else ""
    try:
        if entry_point:
            hidden, public, tier = _asserts(parts, entry_point), _shown(texts[0], entry_point), "values"
        else:
            hidden, public, tier = _pytest(parts, parts.tests), _pytest(parts, parts.tests[:1]), "proxied"
    except RecursionError:
        raise row.wrong("its tests are nested too deeply to be read") from None
    text = "\n\n".join(filter(None, (row.text("text", "prompt").strip(), shown(row.text("starter_code", default="")))))
    request = f"{text}\nThis test has to pass:\n\n```python\n{texts[0].strip()}\n```"
    unseen = sorted(used - names_used(parts.tests[0]) - {entry_point})
    if unseen:
        request += f"\nOther tests use {', '.join(f'`{name}`' for name in unseen)}."
    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(f"{request}\n{CODE_REQUEST}"),),
        tests=hidden,
        public=public,
        oracle=fenced(parts.code),
        limits=limits_of(row, settings.limits or Limits()),
        split=settings.split,
        tier=tier,
        metadata={"format": "mbpp", "entry_point": entry_point, "before": parts.before},
    )


def _parts(row: Fields, texts: list[str]) -> _Row:
    code = row.text("code")
    program = parsed_field(row, "code", code, _MAX_CHARS)
    defined = set[str]().union(*map(defined_by, program.body))
    imports = row.texts("test_imports") if "test_imports" in row else []
    setup = "\n".join([*imports, row.text("test_setup_code", default="")])
    before, own = _split(parsed_field(row, "test_setup_code", setup.strip(), _MAX_CHARS), defined)
    # The original text where possible: unparsing loses comments.
    kept = "\n".join(map(ast.unparse, before)) if own else setup.strip()
    return _Row(code, program, [parsed_field(row, "test_list", text, _MAX_CHARS) for text in texts], kept, own, defined)


def _split(setup: ast.Module, defined: set[str]) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The statements that every program can begin with, and those that need names from the code; both in order."""
    before: list[ast.stmt] = []
    own: list[ast.stmt] = []
    theirs = set(defined)
    for statement in setup.body:
        if _for_tests(statement) or names_used(statement) & theirs:
            own.append(statement)
            theirs |= defined_by(statement)
        else:
            before.append(statement)
    return before, own


def _for_tests(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import):
        return all(alias.name.partition(".")[0] in _FOR_TESTS for alias in statement.names)
    return isinstance(statement, ast.ImportFrom) and (statement.module or "").partition(".")[0] in _FOR_TESTS


def _is_only_called(row: _Row, name: str) -> bool:
    """Whether `name` is a function that the tests only call or pass on."""
    values = [s.value for s in row.program.body if isinstance(s, ast.Assign) and name in defined_by(s)]
    if any(isinstance(n, ast.ClassDef) and n.name == name for n in row.program.body):
        return False
    if any(not isinstance(value, (ast.Lambda, ast.Call, ast.Name, ast.Attribute)) for value in values):
        return False
    nodes = [n for tree in (*row.tests, *row.own) for n in ast.walk(tree)]
    return not any(isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name for n in nodes)


def _dataclasses(program: ast.Module) -> set[str]:
    """The names of the program's dataclasses. Their instances leave the sandbox as their fields."""
    classes = [n for n in program.body if isinstance(n, ast.ClassDef)]
    return {c.name for c in classes if any("dataclass" in ast.unparse(d) for d in c.decorator_list)}


class _Renamed(ast.NodeTransformer):
    def __init__(self, name: str) -> None:
        self.name = name

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("candidate", node.ctx) if node.id == self.name else node


def _function(name: str, argument: str, body: Iterable[ast.stmt], given: set[str]) -> str:
    """The source of a function. If it assigns names that are `given` outside, it assigns the outer names."""
    statements = list(body)
    assigned = set[str]().union(*(_stored(statement) for statement in statements)) & given
    if assigned:
        statements.insert(0, ast.Global(sorted(assigned)))
    (function,) = ast.parse(f"def {name}({argument}): pass").body
    assert isinstance(function, ast.FunctionDef)
    function.body = statements
    return ast.unparse(ast.fix_missing_locations(ast.Module([function], [])))


def _stored(tree: ast.AST) -> set[str]:
    """The names that are assigned anywhere in `tree`."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _asserts(row: _Row, entry_point: str) -> AssertTests:
    renamed = _Renamed(entry_point)
    imports = [s for s in row.own if isinstance(s, (ast.Import, ast.ImportFrom))]
    own = [s for s in row.own if s not in imports]
    body = [renamed.visit(statement) for statement in [*own, *(s for tree in row.tests for s in tree.body)]]
    setup = "\n".join([row.before, *map(ast.unparse, imports)]).strip()
    check = _function("check", "candidate", body, set[str]().union(*map(defined_by, ast.parse(row.before).body)))
    return AssertTests(entry_point, f"{setup}\n\n{check}\n", row.oracle)


def _pytest(row: _Row, tests: list[ast.Module]) -> PytestTests:
    """A pytest file with a test for each text; or one test for all, if a text uses a name that another assigns."""
    imports = [s for s in row.program.body if isinstance(s, (ast.Import, ast.ImportFrom))]
    imports = [s for s in imports if getattr(s, "module", "") != "__future__"]
    # If the code defines a class or helper too, the code's own is used, as if the setup ran first.
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    setup = [*ast.parse(row.before).body, *row.own]
    setup = [s for s in setup if not (isinstance(s, definitions) and s.name in row.used)]
    lines = [*map(ast.unparse, imports), f"from solution import {', '.join(sorted(row.used))}"]
    given = set[str]().union(row.defined, *map(defined_by, setup))
    bodies = [tree.body for tree in tests]
    if any(names_used(late) & _stored(early) for n, early in enumerate(tests) for late in tests[n + 1 :]):
        bodies = [[s for body in bodies for s in body]]
    functions = [_function(f"test_{number}", "", body, given) for number, body in enumerate(bodies)]
    source = "\n\n".join(["\n".join(lines), "\n".join(map(ast.unparse, setup)), *functions])
    return PytestTests({"test_solution.py": f"{source}\n".encode()}, oracle={"solution.py": row.oracle.encode()})


def _shown(test: str, entry_point: str) -> CallTests | None:
    """The test as a public case, if it is `assert f(literals) == literal`; else None."""
    try:
        (statement,) = ast.parse(test).body
        assert isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare)
        call, (expected,), (operator,) = statement.test.left, statement.test.comparators, statement.test.ops
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and isinstance(operator, ast.Eq)
        kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        if call.func.id != entry_point or len(kwargs) != len(call.keywords):
            return None
        case = Case(tuple(ast.literal_eval(a) for a in call.args), ast.literal_eval(expected), kwargs)
        encode([case.args, dict(case.kwargs), case.expected])
    except (AssertionError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError, NotCanonical):
        return None
    return CallTests(entry_point, (case,))
