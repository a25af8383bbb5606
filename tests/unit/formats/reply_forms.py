"""How models write a block of code in a reply, in whatever language: forms that each reader of replies knows."""

from __future__ import annotations

import textwrap

from agent_rl.formats.reply_program import WantedProgram

F = "def f(xs):\n    return sum(xs)\n"
PROMPT = '''from typing import List


def g(x):
    return x


def f(xs: List[int]) -> int:
    """ Add.
    >>> f([1])
    1
    """
'''
FUNCTION = WantedProgram(frozenset({"f"}))
WHOLE = WantedProgram(acts=True)
MODULE = WantedProgram()
COMPLETION = WantedProgram(frozenset({"f"}), prompt=PROMPT)


def fenced(code: str, opening: str = "```python", closing: str = "```") -> str:
    return f"{opening}\n{code}{closing}\n"


def indented(text: str, by: str) -> str:
    return textwrap.indent(text, by, lambda line: True)


def common_forms(code: str, tag: str, wrong: str) -> dict[str, str]:
    """Replies that mean `code`, in blocks of the language `tag`; `wrong` is another program, which is not meant."""
    opening = f"```{tag}"
    block = fenced(code, opening)
    return {
        "tagged": block,
        "untagged": fenced(code, "```"),
        "a title": fenced(code, f'{opening} title="a"'),
        "a tag in braces": fenced(code, f"```{{.{tag}}}"),
        "an upper-case tag": fenced(code, f"```{tag.upper()}"),
        "a space before the tag": fenced(code, f"``` {tag}"),
        "tildes": fenced(code, f"~~~{tag}", "~~~"),
        "more backticks": fenced(code, f"``{opening}", "`````"),
        "line ends of Windows": block.replace("\n", "\r\n"),
        "a byte order mark before the block": f"\ufeff{block}",
        "in a list": "1. The code:\n\n" + indented(block, "   "),
        "in a quote": indented(block, "> "),
        "not closed": f"{opening}\n{code}",
        "closed in a line of code": f"{opening}\n{code.rstrip()}```\n",
        "inside of a longer block of Markdown": fenced(f"Do:\n{block}", "````markdown", "````"),
        "before a template's token": f"{block}<|im_end|>",
        "a wrong one before": fenced(wrong, opening) + "Better:\n" + block,
        "text behind": block + fenced("6\n", "```text"),
        "output behind, which says so": f"{block}Output:\n{fenced('6', '```')}",
        "thinking": f"<think>\n{fenced(wrong, opening)}</think>\n\n{block}",
        "thinking without an opening": f"So.\n</think>\n{block}",
        "thinking that holds an open fence": f"<think>\n{opening}\n{wrong}</think>\n{block}",
        "thinking twice": f"<think>a</think>\n<think>b</think>\n{block}",
        "a fence right after thinking": f"<think>a</think>{block}",
        "another model's thinking": f"<seed:think>a</seed:think>\n{block}",
        "thinking again after the answer": f"{block}\n<think>\nOr else",
    }
