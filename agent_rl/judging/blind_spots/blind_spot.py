"""Finds what a task's tests check in process and its tier does not show: then the tier is too strong for the tests.

At tier `values` only arguments and results leave the candidate's process, at tier `proxied` messages. Tests that check
that nothing was printed, that an argument was copied, or that `sum` was not called would pass whatever a solution does.
So when a task is loaded, its tests are run in process (in a sandbox, with no submission) against variants of the oracle
solution. A variant that fails there and passes at the tier is a blind spot.
"""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.cache import cache_folder
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.blind_spots.oracle_variants import KINDS
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.recording import asserts_equality_only
from agent_rl.judging.result_frames import Raised, Returned, Tampered, Unheld, read_frames, value_of
from agent_rl.python_names import names_used
from agent_rl.vocabulary import AssertTests, Limits, PytestTests, RunCall, RunRequest, Task, Verdict, wording
from agent_rl.vocabulary.canonical import NotCanonical, encode

VERSION = 4
_LIMITS = Limits(wall_seconds=90.0, cpu_seconds=90.0, memory_bytes=2**30)
_SECONDS = 60.0
"""The longest that all variants may take together."""
_MODULES = (
    "proxied.proxy_messages",
    "proxied.proxy_exceptions",
    "proxied.shared_containers",
    "proxied.lanes",
    "proxied.process_effects",
    "proxied.proxies",
    "proxied.unexpected_objects",
    "proxied.remote_objects",
    "proxied.outgoing_values",
    "proxied.tests_side",
    "proxied.pytest_fixtures",
    "proxied.pytest_subset",
    "proxied.fixtures",
    "proxied.hidden_tests",
    "proxied.one_test",
    "proxied.tests_runner",
    "blind_spots.variant_effects",
    "blind_spots.oracle_variants",
    "blind_spots.variant_runs",
)
"""The modules that a run of variants needs, in import order."""
_LOADER = """
import sys, types

def run_variants(*args):
    for name, source in {modules!r}:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part not in sys.modules:
                module = sys.modules[part] = types.ModuleType(part)
                module.__path__ = []
                if end > 1:
                    setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], module)
        exec(compile(source, "<" + name + ">", "exec"), sys.modules[name].__dict__)
    return sys.modules[{last!r}].run_variants(*args)
"""
_ENDING = """

def __agent_rl_vary__():
    import sys, types

    effects = sys.modules[{module!r}] = types.ModuleType({module!r})
    exec(compile({effects!r}, "effects.py", "exec", dont_inherit=True), effects.__dict__)
    space = {{"__name__": "agent_rl_variants"}}
    exec(compile({source!r}, "variants.py", "exec", dont_inherit=True), space)
    return space["vary"](globals(), {{kind}}, {patched!r}, {variables!r})

__agent_rl_applies__ = __agent_rl_vary__()
del __agent_rl_vary__
"""
_WITHOUT_EFFECTS = frozenset(
    {
        "bisect",
        "cmath",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "json",
        "math",
        "numpy",
        "operator",
        "random",
        "re",
        "statistics",
        "string",
        "typing",
    }
)
"""Modules with which tests make inputs and expected values, and which show nothing of what a call did beside."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


async def blind_spot(task: Task, tests: PytestTests, passes: Callable[[str], Awaitable[Verdict]], runs: Runs) -> str:
    """What a solution may do that the tests check and the task's tier does not show; "" if nothing was found.

    tests: the tests as pytest files with node ids and the oracle solution as one module. passes: judges a program at
    the task's tier. The result is kept on disk, under `~/.cache/agent-rl/blind_spots`, if time sufficed for all
    variants. Raises ConfigError or SandboxError if the search fails, so that a failure never looks like a result.
    """
    oracle = tests.oracle.get(f"{tests.module.replace('.', '/')}.py")
    if oracle is None or runs.provider.isolation == "memory":
        return ""
    file = cache_folder() / "blind_spots" / f"{task.hash}-{task.tier}-{VERSION}.json"
    kept = _read(file)
    if kept is not None:
        return kept
    found, whole = await _search(task, tests, oracle.decode("utf-8", "replace"), passes, runs)
    if whole:
        _write(file, found)
    return found


def may_check_more_than_values(tests: AssertTests) -> bool:
    """False if all that the asserts do is to compare results with ==, whose order plays no part."""
    if not asserts_equality_only(tests.source) or "OrderedDict" in tests.source + tests.oracle:
        return True
    module = ast.parse(tests.source)
    (check,) = (n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "check")
    name = check.args.args[0].arg
    for node in ast.walk(module):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant) and name not in names_used(node):
            return True
        imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(path.partition(".")[0] not in _WITHOUT_EFFECTS for path in imported):
            return True
    return False


async def _search(
    task: Task, tests: PytestTests, oracle: str, passes: Callable[[str], Awaitable[Verdict]], runs: Runs
) -> tuple[str, bool]:
    """(the blind spot or "", whether every variant was tried)."""
    ending = _ENDING.format(
        module="agent_rl.judging.blind_spots.variant_effects",
        effects=_source("blind_spots.variant_effects"),
        source=_source("blind_spots.oracle_variants"),
        patched=sorted(_patched(tests)),
        variables=_variables(tests),
    )
    kinds, whole = await _noticed(task.id, tests, oracle, ending, runs)
    for kind in kinds:
        if (await passes(oracle + ending.replace("{kind}", repr(kind)))).passed:
            return kind, True
    return "", whole


async def _noticed(task_id: str, tests: PytestTests, oracle: str, ending: str, runs: Runs) -> tuple[list[str], bool]:
    """(the kinds of variants that the tests fail in process, whether all were tried).

    None are tried if the oracle solution itself fails there. Raises ConfigError if the search cannot be made with these
    tests, and SandboxError if its own code fails: neither says that nothing was found.
    """
    failed = f"task {task_id}: what its tests check beside values could not be found out:"
    program = _LOADER.format(modules=_sources(), last=f"agent_rl.judging.{_MODULES[-1]}")
    arguments = (dict(tests.files), list(tests.tests), tests.module, oracle, ending, _SECONDS)
    call_id = secrets.token_hex(8)
    try:
        call = RunCall(call_id, encode([arguments, {}]))
    except NotCanonical as error:
        raise ConfigError(f"{failed} {error}") from None
    result = await runs.run(RunRequest(program, "run_variants", (call,), limits=_LIMITS))
    if isinstance(result, Blamed):
        raise ConfigError(f"{failed} {result.detail}")
    try:
        answers = read_frames(result.frames, [call_id])
        answer = answers.by_id.get(call_id)
        found = value_of(answer) if isinstance(answer, Returned) else None
    except Tampered as error:
        raise ConfigError(f"{failed} {error}") from None
    if answers.load_error is not None or isinstance(answer, (Raised, Unheld)):
        why = answers.load_error or (answer.error if isinstance(answer, Raised) else "an answer that cannot be held")
        raise SandboxError(f"{failed} {wording.last_line(why)}")
    match found:
        case [[*kinds], bool(whole)] if all(kind in KINDS for kind in kinds):
            return kinds, whole
        case None:
            status = "it ended early" if result.status == "completed" else result.status.replace("_", " ")
            raise ConfigError(f"{failed} {status}")
        case _:
            raise ConfigError(f"{failed} an answer of unknown form")


def _patched(tests: PytestTests) -> set[str]:
    """Dotted names of what the tests may replace outside of the solution, such as `builtins.sum` or `os.remove`."""
    found = {name for module in _parsed(tests) for name in _replaced(module)}
    return {name for name in found if name.partition(".")[0] != tests.module.partition(".")[0]}


def _variables(tests: PytestTests) -> list[str]:
    """Texts of the tests that may name environment variables, if they use the environment at all."""
    if not any(b"environ" in content or b"env(" in content for content in tests.files.values()):
        return []
    nodes = (node for module in _parsed(tests) for node in ast.walk(module) if isinstance(node, ast.Constant))
    return sorted({node.value for node in nodes if isinstance(node.value, str) and _VARIABLE.fullmatch(node.value)})


def _parsed(tests: PytestTests) -> Iterator[ast.Module]:
    for path, content in tests.files.items():
        if path.endswith(".py"):
            with suppress(SyntaxError, ValueError, MemoryError, RecursionError):
                yield ast.parse(content)


def _replaced(module: ast.Module) -> Iterator[str]:
    modules: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            modules.update({alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from (text for text in texts if _DOTTED.fullmatch(text))
            if len(node.args) > 1 and texts and texts[0].isidentifier():
                holder = _dotted(node.args[0], modules)
                if holder:
                    yield f"{holder}.{texts[0]}"
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (name for target in targets if "." in (name := _dotted(target, modules)))


def _dotted(node: ast.expr, modules: dict[str, str]) -> str:
    """The dotted name that an expression stands for, with an imported module's full name; "" if it is no name."""
    if isinstance(node, ast.Name):
        return modules.get(node.id, "")
    if isinstance(node, ast.Attribute):
        holder = _dotted(node.value, modules)
        return f"{holder}.{node.attr}" if holder else ""
    return ""


@cache
def _sources() -> list[tuple[str, str]]:
    return [(f"agent_rl.judging.{name}", _source(name)) for name in _MODULES]


def _source(name: str) -> str:
    folder, _, module = name.partition(".")
    return files(f"agent_rl.judging.{folder}").joinpath(f"{module}.py").read_text()


def _read(file: Path) -> str | None:
    try:
        kept = json.loads(file.read_text())["blind_spot"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if kept == "" or kept in KINDS else None


def _write(file: Path, found: str) -> None:
    """Writes the result to disk, whole or not at all; a cache that cannot be written is not an error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"schema_version": VERSION, "blind_spot": found}))
    except OSError:
        return
