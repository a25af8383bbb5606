"""Decides which program is meant by a reply: the same for training, evaluation and `agent-rl verify`.

1. Thinking is cut: what follows its last end counts. A mark inside a string of the answer's code is part of the code.
2. A reply that is a program as a whole is that program.
3. Of several blocks, the last one counts that parses and defines what the tests call: a function, a class, or a method
   of `class Solution`. A program that is run as a whole acts: it calls something and writes. So blocks of output, of
   data, of shell commands and of examples do not count.
4. What that block uses and another one defines (imports, helpers, classes) is put before it.
5. Without such a block, the runs of lines that are Python count in the same way, so that prose needs no fence; then
   those that are indented as a whole, then code in a line of prose, lines with numbers, what a session at `>>>`
   defines, then the one program in a JSON text.
6. HumanEval's prompt, or a row's starter code, may be continued by a body of its function, also one inside of prose.
7. Where starter code asks for a class, methods that are written without it are put into it.

Untrusted text is parsed within bounds, and never run.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent_rl.formats.code_blocks import Block, ReplyReader, plain
from agent_rl.formats.parts_of_programs import continued, with_body, with_class
from agent_rl.formats.unfinished_thinking import UnfinishedThinking, before_unfinished
from agent_rl.formats.wanted_names import wanted_names
from agent_rl.joined_programs import joined, parsed
from agent_rl.python_names import bound_by, names_used
from agent_rl.vocabulary import CallTests, StdioTests, Task
from agent_rl.vocabulary.thinking import ENDING, OPENING_LINE

_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__"}
_MOST_ENDS = 4
"""Of thinking that are looked for one by one. Of more ends the last counts."""
_WRITES = frozenset({"print", "write", "writelines", "stdout", "pprint"})
_READS = frozenset({"input", "stdin", "open", "fileinput", "read"})
_SOLUTION = re.compile(r"^class[ \t]+Solution\b", re.MULTILINE)
_HEADING = re.compile(r"#{1,6} ")


@dataclass(frozen=True, slots=True)
class WantedProgram:
    """What a program has to be. Without names it is run as a whole (`acts`), or a module of unknown content."""

    names: frozenset[str] = frozenset()
    acts: bool = False
    prompt: str = ""
    """The beginning of a program that a completion may continue."""
    known: frozenset[str] = frozenset()
    """The names that are given to the program."""
    owner: str = ""
    """The class whose method is asked for."""
    given: int = 0
    """How many arguments that method is called with."""
    starter: str = ""
    """Starter code, up to the body of the function or method that is asked for."""


def program_of(task: Task, reply: str, *, unfinished_thinking: UnfinishedThinking = "invalid") -> str:
    """The program that is meant by a reply to `task`, with what the task puts before and after it.

    If the reply holds no code, its text is the program, and fails as one. Raises InvalidSubmission if its thinking
    never ends (unless `unfinished_thinking` is "read").
    """
    before, after = (str(task.metadata.get(key, "")) for key in ("before", "after"))
    prompt = "" if "format" in task.metadata else str(task.metadata.get("prompt", ""))
    acts = isinstance(task.tests, StdioTests)
    owner, given = "", 0
    if isinstance(task.tests, CallTests):
        owner = task.tests.owner
        given = max((len(case.args) + len(case.kwargs) for case in task.tests.cases), default=0)
    starter = str(task.metadata.get("starter", ""))
    known = _bound(ReplyReader(), before)
    wanted = WantedProgram(wanted_names(task.tests), acts, prompt, known, owner, given, starter)
    program = program_in(reply, wanted, unfinished_thinking=unfinished_thinking)
    if _SOLUTION.search(program):
        # Written for judges that import before it.
        before = str(task.metadata.get("before_class", before))
    return joined(before, program) + after


def program_in(reply: str, wanted: WantedProgram, *, unfinished_thinking: UnfinishedThinking = "invalid") -> str:
    """The program that is meant by `reply`, with the part of the prompt that it needs. Raises InvalidSubmission."""
    reader = ReplyReader()
    answer = _answer(reader, plain(reply), wanted, unfinished_thinking)
    return (
        _chosen(reader, answer, wanted)
        or continued(reader, answer, wanted.prompt)
        or continued(reader, answer, wanted.starter)
        or _anything(reader, answer, wanted)
    )


def _chosen(reader: ReplyReader, answer: str, wanted: WantedProgram) -> str | None:
    """The program of a block, or of unfenced lines, that is what is wanted; None if there is none."""
    whole = reader.block(answer)
    if _rank(whole, wanted)[0]:
        return _placed(_without_prose(whole, wanted), wanted)
    fenced = [block for block, _, _ in reader.fenced(answer)]
    found = _best([b for b in fenced if b.may_be_python], wanted) or _best(fenced, wanted)
    if found is None and wanted.prompt and (body := with_body(reader, answer, wanted.prompt)) is not None:
        return body
    others = (reader.numbered,) if wanted.acts else (reader.numbered, reader.sessions)
    for look in (reader.tagged, reader.unfenced, reader.indented, reader.spans, *others):
        if found is None:
            fenced = [block for block, _, _ in look(answer)]
            if look == reader.unfenced:
                fenced = [reader.block(_without_prose(block, wanted)) for block in fenced]
            found = _best(fenced, wanted)
    if found is None:
        fenced = _from_json(reader, answer, wanted)
        found = fenced[0] if len(fenced) == 1 else None
    return None if found is None else _placed(_completed(found, fenced, wanted), wanted)


def _from_json(reader: ReplyReader, answer: str, wanted: WantedProgram) -> list[Block]:
    """The programs that are wanted in the strings of JSON that the answer, or its only block, holds."""
    fenced = [block for block, _, _ in reader.fenced(answer)]
    strings = reader.written_as_json(fenced[0].text if len(fenced) == 1 else answer)
    programs = [block for block in strings if _rank(block, wanted)[0]]
    if not programs:
        inside = [[block for block, _, _ in reader.fenced(string.text)] for string in strings]
        programs = [block for block in (_best(blocks, wanted) for blocks in inside) if block is not None]
    return list({block.text: block for block in programs}.values())


def _best(blocks: Sequence[Block], wanted: WantedProgram) -> Block | None:
    """The last of the blocks that fit best; None if none fits."""
    ranked = [(_rank(block, wanted), number) for number, block in enumerate(blocks)]
    best = max(ranked, default=((0,), 0))
    return blocks[best[1]] if best[0][0] else None


def _rank(block: Block, wanted: WantedProgram) -> tuple[int, ...]:
    """How well a block fits; its first number is 0 if it does not fit at all."""
    if block.tree is None:
        return (0,)
    if not wanted.acts:
        defined = _defined(block.tree)
        return (max((defined.get(name, 0) for name in wanted.names or defined), default=0),)
    acts, used = _acts(block.tree), _words(block.tree)
    writes = acts and not used.isdisjoint(_WRITES)
    alone = writes and not _missing(block.tree, wanted)
    return (acts, alone, alone and not used.isdisjoint(_READS), writes)


def _defined(tree: ast.Module) -> dict[str, int]:
    """The names that a module and its `class Solution` define: 3 in full, 2 as a value, 1 as a stub."""
    found: dict[str, int] = {}
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[statement.name] = _fullness(statement)
            methods = statement.body if statement.name == "Solution" else []
            for method in methods:
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    found[method.name] = max(found.get(method.name, 0), _fullness(method))
        elif not isinstance(statement, (ast.For, ast.AsyncFor, ast.While)):
            is_function = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Lambda)
            nested = isinstance(statement, (ast.If, ast.Try, ast.With))
            found.update(dict.fromkeys(bound_by(statement), 3 if is_function or nested else 2))
    return found


def _fullness(definition: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return 3 if _says_something(definition.body) else 1


def _says_something(body: Sequence[ast.stmt]) -> bool:
    """Whether a body is more than a docstring, `pass`, `...` and `raise NotImplementedError`."""
    for statement in body:
        if isinstance(statement, ast.Raise) and "NotImplementedError" in names_used(statement):
            continue
        if not isinstance(statement, ast.Pass) and not (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            return True
    return False


def _acts(tree: ast.Module) -> bool:
    """Whether running the module calls anything itself."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return False


def _words(tree: ast.Module) -> set[str]:
    """The names and attributes that a module uses, and the modules that it imports."""
    nodes = list(ast.walk(tree))
    found = names_used(tree) | {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return found.union(*(bound_by(n) for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))))


def _missing(tree: ast.AST, wanted: WantedProgram) -> set[str]:
    """The names that `tree` uses and neither binds nor is given."""
    if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree)):
        return set()
    return names_used(tree) - _bound_anywhere(tree) - _BUILTINS - wanted.known


def _bound_anywhere(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= bound_by(node)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


def _completed(chosen: Block, blocks: Sequence[Block], wanted: WantedProgram) -> str:
    """The program of `chosen`, and before it what it lacks and other blocks define.

    Of a block with definitions only the needed ones are taken; a program that acts is taken in whole steps.
    """
    assert chosen.tree is not None
    at = next(n for n, block in enumerate(blocks) if block is chosen)
    bound = set().union(*map(bound_by, chosen.tree.body))
    asked = bound | set(_defined(chosen.tree))
    waiting = sorted(wanted.names | _missing(chosen.tree, wanted))
    whole = wanted.acts and not wanted.names
    # The last definition before the block counts, as if the blocks were run in order; else the first one behind it.
    others = [*range(at - 1, -1, -1), *range(at + 1, len(blocks))]
    taken: set[tuple[int, int]] = set()
    while waiting:
        name = waiting.pop()
        if name in asked:
            continue
        asked.add(name)
        for n in others:
            tree, place = blocks[n].tree, _place(blocks[n], name)
            if tree is not None and place is not None:
                taken.add((n, place))
                waiting += sorted(_missing(tree if whole else tree.body[place], wanted))
                break
        else:
            taken |= {(n, place) for n in range(at) for place in _star_imports(blocks[n])}
    if whole:
        return joined(*(blocks[n].text for n in sorted({n for n, _ in taken})), chosen.text)
    return joined(*(_source(blocks[n], place) for n, place in sorted(taken)), chosen.text)


def _place(block: Block, name: str) -> int | None:
    """The last statement of `block` that binds `name`."""
    body = block.tree.body if block.tree is not None else []
    return next((n for n in range(len(body) - 1, -1, -1) if name in bound_by(body[n])), None)


def _star_imports(block: Block) -> list[int]:
    """The statements of `block` that import whatever a module has."""
    body = block.tree.body if block.tree is not None else []
    return [n for n, s in enumerate(body) if isinstance(s, ast.ImportFrom) and s.names[0].name == "*"]


def _without_prose(block: Block, wanted: WantedProgram) -> str:
    """The text of a block that no fence ends, without the prose behind it that happens to be Python.

    That is `Time: O(n)`, and what has a Markdown heading above it; it names what is nowhere bound.
    """
    lines = block.text.split("\n")
    bound = _bound_by_all(block)
    for statement in reversed(block.tree.body if block.tree is not None else []):
        above = next((lines[n] for n in range(statement.lineno - 2, -1, -1) if lines[n].strip()), "")
        is_label = isinstance(statement, ast.AnnAssign) and statement.value is None
        if not (is_label or (isinstance(statement, ast.Expr) and _HEADING.match(above))):
            break
        if not _missing(statement, wanted) - bound:
            break
        del lines[statement.lineno - 1 :]
        while lines and (not lines[-1].strip() or _HEADING.match(lines[-1])):
            del lines[-1]
    return "\n".join(lines).rstrip() + "\n" if len(lines) < block.text.count("\n") + 1 else block.text


def _bound_by_all(block: Block) -> set[str]:
    stars = _star_imports(block)
    if block.tree is None:
        return set()
    return _bound_anywhere(block.tree) | (names_used(block.tree) if stars else set())


def _source(block: Block, place: int) -> str:
    """The lines of a statement, with its decorators."""
    assert block.tree is not None
    statement = block.tree.body[place]
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(block.text.split("\n")[first - 1 : statement.end_lineno])


def _placed(code: str, wanted: WantedProgram) -> str:
    """`code` in the place of the prompt's stub: what stands before the stub (imports, helpers) is kept.

    Methods that are written without their class are put into it.
    """
    if wanted.owner and not isinstance(tree := parsed(code), SyntaxError):
        code = with_class(code, tree, wanted.owner, wanted.names, wanted.given)
    if not wanted.prompt:
        return code
    stubs = [match.start() for name in wanted.names for match in _definition(name).finditer(wanted.prompt)]
    return joined(wanted.prompt[: max(stubs, default=0)], code)


def _definition(name: str) -> re.Pattern[str]:
    name = re.escape(name)
    return re.compile(rf"^(?:(?:async[ \t]+)?def[ \t]+{name}[ \t]*\(|class[ \t]+{name}\b|{name}[ \t]*=)", re.MULTILINE)


def _anything(reader: ReplyReader, answer: str, wanted: WantedProgram) -> str:
    """What is judged where nothing is what is wanted: it fails as the program that it is."""
    blocks = [block for block, _, _ in reader.fenced(answer)]
    blocks = [block for block in blocks if block.may_be_python] or blocks
    for text in (*(block.text for block in reversed(blocks)), answer):
        if any(_definition(name).search(text) for name in wanted.names):
            return _placed(text, wanted)
    named = [block.text for block in blocks if block.language == "python"] or [b.text for b in blocks]
    return wanted.prompt + (named[-1] if named else answer)


def _answer(reader: ReplyReader, reply: str, wanted: WantedProgram, unfinished_thinking: UnfinishedThinking) -> str:
    """What follows the last end of thinking. Raises InvalidSubmission if the thinking never ends."""
    for number in range(_MOST_ENDS):
        end = reader.first_outside_code(reply, ENDING)
        if end is not None and number == _MOST_ENDS - 1:
            end = [*ENDING.finditer(reply)][-1]
        reply = reply[end.end() :] if end is not None else reply
    opening = reader.first_outside_code(reply, OPENING_LINE)
    return before_unfinished(
        reply,
        opening,
        unfinished_thinking,
        lambda shown: bool(shown.strip()) and _chosen(reader, shown, wanted) is not None,
    )


def _bound(reader: ReplyReader, before: str) -> frozenset[str]:
    tree = reader.block(before).tree
    return frozenset().union(*map(bound_by, tree.body)) if tree is not None else frozenset()
