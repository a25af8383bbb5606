"""Completes what is less than a program: the body of a function that a prompt begins, and methods without their class.

Nothing is run here.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable

from agent_rl.formats.code_blocks import ReplyReader, goes_on, returns
from agent_rl.joined_programs import joined, parsed


def continued(reader: ReplyReader, answer: str, prompt: str) -> str | None:
    """The prompt and the body of its function, from a block or from the whole answer; None if it is not continued."""
    if not prompt:
        return None
    blocks = [block for block, _, _ in reader.fenced(answer) if block.may_be_python]
    bodies = [b for b in blocks if b.text[:1].isspace() or (b.tree is not None and returns(b.tree))]
    indent = _last_indent(prompt) or "    "
    for text in [*(block.text for block in reversed(bodies)), answer]:
        first_line_only = indent + text.strip("\n").lstrip()
        for body in (text, first_line_only, textwrap.indent(textwrap.dedent(text), indent)):
            if (program := with_body(reader, body, prompt)) is not None:
                return program
    return _continued_in_prose(reader, answer, prompt, indent)


def _continued_in_prose(reader: ReplyReader, answer: str, prompt: str, indent: str) -> str | None:
    """The prompt and the last indented run of unfenced lines that is a body: that returns, or else any other."""
    lines = answer.split("\n")
    for _, first, last in reader.fenced(answer):
        lines[first:last] = ["```"] * (min(last, len(lines)) - first)
    prompt = prompt if prompt.endswith("\n") else f"{prompt}\n"
    other: str | None = None
    for run in reversed(_indented_runs(lines)):
        body = textwrap.dedent(run)
        program = prompt + textwrap.indent(body, indent)
        if isinstance(reader.parse(program), SyntaxError):
            continue
        tree = reader.parse(body)
        if isinstance(tree, ast.Module) and returns(tree):
            return program
        other = other or program
    return other


def _indented_runs(lines: Iterable[str]) -> list[str]:
    """The runs of lines that are indented or empty, without empty ones at their ends."""
    runs: list[list[str]] = [[]]
    for line in lines:
        if not line.strip() or line[0].isspace():
            runs[-1].append(line)
        elif runs[-1]:
            runs.append([])
    texts = ("\n".join(run).strip("\n").rstrip() for run in runs)
    return [f"{text}\n" for text in texts if text]


def with_body(reader: ReplyReader, text: str, prompt: str) -> str | None:
    """The prompt and the lines of `text`, as many as parse, if they begin with a function's body; else None."""
    first = re.match(r"\n*([ \t]*)", text)
    if first is None or not first[1] or len(first[1]) < len(_last_indent(prompt)):
        return None
    lines = text.split("\n")
    prompt = prompt if prompt.endswith("\n") else f"{prompt}\n"
    above = prompt.count("\n")
    end = len(lines)
    while any(line.strip() for line in lines[:end]):
        program = prompt + "\n".join(lines[:end])
        tree = reader.parse(program)
        if not isinstance(tree, SyntaxError):
            return None if returns(tree) else program
        end = min(end - 1, (tree.lineno or 1) - 1 - above)
        # A definition that follows the body, and was not finished, is left out as a whole.
        while end > 0 and (goes_on(lines[end]) or not lines[end].strip()):
            end -= 1
        if end <= 0:  # inside of the body: it is not cut in two
            break
    return None


def _last_indent(prompt: str) -> str:
    return (re.findall(r"^([ \t]*)\S", prompt, re.MULTILINE) or [""])[-1]


def begun_by(starter_code: str, owner: str, name: str) -> str:
    """Starter code as the beginning of a program, up to the body of `name`, which is its last definition; else ""."""
    lines = starter_code.rstrip().split("\n")
    while lines and (lines[-1].lstrip().startswith("#") or lines[-1].strip() in ("pass", "...")):
        lines.pop()
    last = lines[-1] if lines else ""
    inner = last[: len(last) - len(last.lstrip())] + "    "
    for end in ("", f'{inner}""\n'):
        text = "\n".join([*lines, end])
        tree = parsed(text)
        holder: ast.AST | None = tree.body[-1] if isinstance(tree, ast.Module) and tree.body else None
        if owner:
            holder = holder.body[-1] if isinstance(holder, ast.ClassDef) and holder.name == owner else None
        if isinstance(holder, (ast.FunctionDef, ast.AsyncFunctionDef)) and holder.name == name:
            return text if len(holder.body) == 1 and isinstance(holder.body[0], ast.Expr) else ""
    return ""


def with_class(program: str, tree: ast.Module, owner: str, names: Iterable[str], given: int) -> str:
    """The program; with the class `owner` if it has none and writes the method that is asked for alone.

    given: with how many arguments the method is called. A function without room for `self` is no method.
    """
    functions = [s for s in tree.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))]
    own = [f for f in functions if f.args.args and f.args.args[0].arg == "self" and not f.decorator_list]
    methods = [f.name for f in own]
    asked = [f for f in own if f.name in names and len(f.args.args) > given]
    if not asked or any(isinstance(s, ast.ClassDef) and s.name == owner for s in tree.body):
        return program
    return joined(program, "\n".join([f"class {owner}:", *(f"    {m} = {m}" for m in dict.fromkeys(methods))]))
