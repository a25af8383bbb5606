"""Code that is written with what does not belong to it: a session's prompts and output, or a number on each line."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence

from agent_rl.joined_programs import parsed

_COMMAND = re.compile(r"[ \t]*(?:>>>|In \[\d+\]:)(?: (.*)|\s*)")
_CONTINUED = re.compile(r"[ \t]*\.\.\.:?(?: (.*)|\s*)")
_NUMBERED = re.compile(r"([ \t]*(\d{1,4})(?:[ \t]*[:|│]|[.)](?=\s|$)|(?=\s|$)))(.*)")


def defined_in_session(text: str) -> str | None:
    """What the commands of a Python session define, without those that only show a value; None if it is no session."""
    lines: list[str] = []
    is_open = False
    for line in text.split("\n"):
        command = _COMMAND.fullmatch(line) or (_CONTINUED.fullmatch(line) if lines else None)
        if command is not None:
            lines.append(command[1] or "")
            is_open = lines[-1].rstrip().endswith(":")
        elif is_open and line[:1].isspace():  # as some shells write what goes on: without a prompt
            lines.append(line)
        else:
            is_open = False
    tree = parsed("\n".join(lines)) if lines else None
    if not isinstance(tree, ast.Module):
        return None
    for statement in reversed(tree.body):
        if isinstance(statement, ast.Expr):
            del lines[statement.lineno - 1 : statement.end_lineno]
    return "\n".join(lines) + "\n"


def without_line_numbers(text: str) -> Iterator[str]:
    """What stands behind the numbers of each run of numbered lines, in each way to read how far it is indented."""
    for run in _runs(text.split("\n")):
        for prefix in (" ", ""):
            code = (prefix * len(match[1]) + match[3] for match in run)
            yield textwrap.dedent("\n".join(code)) + "\n"


def _runs(lines: Sequence[str]) -> Iterator[list[re.Match[str]]]:
    """The runs of two and more lines whose numbers follow each other; empty lines may stand between them."""
    run: list[re.Match[str]] = []
    for line in [*lines, "end"]:
        match = _NUMBERED.fullmatch(line)
        if match is not None and run and int(match[2]) == int(run[-1][2]) + 1:
            run.append(match)
        elif match is not None or line.strip():
            if len(run) > 1:
                yield run
            run = [match] if match is not None else []
