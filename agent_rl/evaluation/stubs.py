"""Replies that solve nothing, made from a task's reference: each of them has to fail, or the tests are vacuous."""

from __future__ import annotations

import ast
import re
import textwrap

_FENCE = re.compile(r"(```[\w+-]*[ \t]*\n)(.*?)(\n?```)", re.DOTALL)

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
TEXTS = {"empty": "", "None": "None", "no answer": "I do not know.", "exit(0)": "exit(0)"}


def stub_replies(reference: str) -> dict[str, str]:
    """Name -> reply. Where `reference` holds functions, it is the same reply with their bodies replaced.

    A reference may be a program, a reply with one fenced block of code, or the indented body of a function that the
    prompt began. One that is none of these (a number, a text) gets texts that answer nothing.
    """
    fence = _FENCE.search(reference)
    code = fence[2] if fence else reference
    stubs = {"empty": ""}
    for name, body in BODIES.items():
        stub = _with_body(code, body)
        if stub is None:
            return dict(TEXTS)
        stubs[name] = reference[: fence.start(2)] + stub + reference[fence.end(2) :] if fence else stub
    return stubs


def _with_body(code: str, body: str) -> str | None:
    """`code` with the body of each of its functions replaced by `body`; None where it is no code with functions."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return _as_body(code, body)
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if not functions:
        return None
    # What stands inside a replaced body is gone with it, so it does no harm to replace that first.
    for function in functions:
        function.body = ast.parse(textwrap.indent(body, "    ").join(("def f():\n", ""))).body[0].body  # type: ignore
    return ast.unparse(tree) + "\n"


def _as_body(code: str, body: str) -> str | None:
    """`body`, indented as `code` is, where `code` is the body of a function; else None."""
    indent = re.match(r"\n*([ \t]+)\S", code)
    if indent is None:
        return None
    try:
        ast.parse("def f():\n" + code.lstrip("\n"))
    except (SyntaxError, ValueError):
        return None
    return textwrap.indent(body, indent[1]) + "\n"
