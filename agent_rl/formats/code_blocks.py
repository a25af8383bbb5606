"""Finds the blocks of code in a model's reply, fenced or not, with a CommonMark parser. Nothing is run here.

More is read as a fence than CommonMark says: an indented one, since models indent whole replies. A block goes on over
fences in its own docstring, and one that holds other fenced blocks stands for these.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt

from agent_rl.formats.transcripts import defined_in_session, without_line_numbers
from agent_rl.joined_programs import MAX_CHARS, parsed

_PARSED_CHARS = 2 * MAX_CHARS
"""Of one reply. A hostile reply takes no more time than this takes to parse."""
_PARSE_COST = 100
"""What starting to parse costs, in characters."""
_MOST_CLOSINGS = 16
_MOST_DOCSTRINGS = 16
"""With fences inside, in one text."""
_DEPTH = 3
"""Of blocks inside blocks."""
_PYTHON = re.compile(r"[{.]*(?:python|py|ipython|pypy|sage|cpython)[\d.]*\b", re.IGNORECASE)
_BARE_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[ \t]*")
_HEADS_CODE = re.compile(
    r"^(?:@|(?:def|class|if|elif|else|for|while|with|try|except|finally|match|case|async)\b.*:)|[(\[{,\\]\s*$"
)
"""A line that an indented one below it belongs to."""
_TICKS = re.compile("`+")
_MARK_LINE = re.compile(r"^\[/?(?:BEGIN|DONE|PYTHON|CODE|END)\][ \t]*$", re.MULTILINE)
"""What few-shot prompts put around a program."""
_END_TOKEN = re.compile(r"(?:<\|[\w ]{1,40}\|>|</s>|<eos>|<end_of_turn>)\Z")
"""What ends a reply if a template's tokens are kept."""
_TOKEN_CHARS = 44
"""Of the longest one."""
_TAGS = "answer|final_answer|solution|code|python|program|pre"
_TAGGED = re.compile(rf"<({_TAGS})(?:\s[^<>\n]*)?>((?:(?!<(?:{_TAGS})\b).)*?)</\1>", re.DOTALL | re.IGNORECASE)
"""What stands in a tag and holds no other one."""
_INCOMPLETE = re.compile("expected an indented block|was never closed|unterminated triple|unexpected EOF")
_STATEMENT = re.compile(
    r"@|(?:def|class|import|from|async|if|for|while|with|try|print|global|assert|match|type)\b|[^\W\d]\w*\s*(?:[=(\[.,:]|[-+*/|&]=)"
)
_NEWER = (
    (re.compile(r"^([ \t]*)type[ \t]+(\w+)[ \t]*(?:\[[^\]\n]*\])?[ \t]*=", re.MULTILINE), r"\1\2 ="),
    (re.compile(r"^([ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+\w+)\[[^\]\n]*\]", re.MULTILINE), r"\1"),
)
_F_STRING = re.compile(r"\b[rR]?[fF][rR]?(\"|').*\1")
_MARKDOWN = MarkdownIt("zero").enable(["fence", "blockquote", "list"]).disable(["normalize", "inline"])


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: the language that it names (lower-case, "python" for each of Python's names), and its text."""

    language: str
    text: str
    tree: ast.Module | None
    """None: it is no Python that this interpreter knows."""

    @property
    def may_be_python(self) -> bool:
        """Whether it names Python or nothing."""
        return self.language in ("", "python")


class ReplyReader:
    """Reads one reply. It parses a bounded number of characters; after that, nothing parses any more."""

    def __init__(self) -> None:
        self._chars = _PARSED_CHARS
        self._known: dict[str, ast.Module | SyntaxError] = {}
        self._fenced: dict[str, list[tuple[Block, int, int]]] = {}

    def parse(self, text: str) -> ast.Module | SyntaxError:
        """The tree of `text`, or why there is none."""
        known = self._known.get(text)
        if known is None:
            cost = len(text) + _PARSE_COST
            if cost > self._chars:
                self._chars = 0
                return SyntaxError("too much to parse")
            self._chars -= cost
            known = self._known[text] = parsed(text)
            if isinstance(known, SyntaxError):
                known = self._known[text] = self._as_older(text, known)
        return known

    def _as_older(self, text: str, error: SyntaxError) -> ast.Module | SyntaxError:
        """The tree of `text` with syntax that is newer than this interpreter's written in the older way, by lines.

        The program runs in a sandbox, with a Python of its own. Here only what it defines and uses counts.
        """
        older = text
        for new, old in _NEWER:
            older = new.sub(old, older)
        tree = error if older == text else parsed(older)
        lines = older.split("\n")
        while isinstance(tree, SyntaxError) and tree.msg.startswith("f-string") and self._chars > len(older):
            at = (tree.lineno or 1) - 1
            without = _F_STRING.sub('""', lines[at]) if at < len(lines) else ""
            if not without or without == lines[at]:
                break
            lines[at] = without
            self._chars -= len(older) + _PARSE_COST
            tree = parsed("\n".join(lines))
        return tree

    def block(self, text: str, language: str = "") -> Block:
        """The block of `text`, parsed, without a first line that only names the language (that was for the fence)."""
        text = _TAG_LINE.sub("", text, count=1)
        tree = self.parse(text)
        return Block(language, text, None if isinstance(tree, SyntaxError) else tree)

    def fenced(self, text: str, depth: int = 0) -> list[tuple[Block, int, int]]:
        """(block, first line, line after it) of each fenced block of `text`, in order."""
        if text not in self._fenced:
            self._fenced[text] = self._find_fenced(text, depth)
        return self._fenced[text]

    def _find_fenced(self, text: str, depth: int) -> list[tuple[Block, int, int]]:
        found: list[tuple[Block, int, int]] = []
        lines = text.split("\n") if "```" in text or "~~~" in text else []
        start = 0
        for restart in range(_MOST_DOCSTRINGS):
            ended = start
            for info, text_of, first, last in fences(lines, start):
                language = _language(info)
                whole = None
                if restart < _MOST_DOCSTRINGS - 1:
                    whole = self._over_inner_fences(lines, first, last, text_of)
                if whole is not None:
                    content, last = whole
                    found.append((self.block(content, language), first, last))
                    ended = last
                    break  # what the parser took for fences behind it is not: it goes on from here
                found += self._of_fence(text_of, language, first, last, depth)
            if ended == start:
                break
            start = ended
        return found

    def _of_fence(self, content: str, language: str, first: int, last: int, depth: int) -> list[tuple[Block, int, int]]:
        block = self.block(content, language)
        if block.tree is None:
            shorter = self.block(_closed_in_line(content), language)
            if shorter.tree is not None and shorter.text.strip():
                return [(shorter, first, last)]
            if depth < _DEPTH and ("```" in content or "~~~" in content):
                inner = self.fenced(content, depth + 1)
                if inner:
                    return [(found, first, last) for found, _, _ in inner]
            dedented = self.block(textwrap.dedent(content), language)
            if dedented.tree is not None and not returns(dedented.tree):
                return [(dedented, first, last)]
        return [(block, first, last)] if content.strip() else []

    def _over_inner_fences(self, lines: list[str], first: int, last: int, content: str) -> tuple[str, int] | None:
        """(content, line after it) of a block whose docstring holds fences; None if it has no such docstring."""
        tree = self.parse(content)
        if not isinstance(tree, SyntaxError) or "unterminated triple-quoted" not in str(tree):
            return None
        indent = len(lines[first]) - len(lines[first].lstrip(" "))
        closings = [n for n in range(last, len(lines)) if _BARE_FENCE.fullmatch(lines[n])]
        for closing in closings[:_MOST_CLOSINGS]:
            inside = (line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines[first + 1 : closing])
            longer = "\n".join(inside) + "\n"
            if not isinstance(self.parse(longer), SyntaxError):
                return longer, closing + 1
        return None

    def unfenced(self, text: str) -> list[tuple[Block, int, int]]:
        """(run, first line, line after it) of each run of Python's lines; prose and fences stand between them."""
        found: list[tuple[Block, int, int]] = []
        lines = text.split("\n")
        at = 0
        while at < len(lines) and self._chars:
            end = self._run_end(lines, at) if self._may_begin(lines[at]) else at
            if end > at:
                found.append((self.block("\n".join(lines[at:end]) + "\n"), at, end))
            at = max(end, at + 1)
        return found

    def indented(self, text: str) -> list[tuple[Block, int, int]]:
        """The same for Python that is indented as a whole below prose: below a line that cannot be its own."""
        found: list[tuple[Block, int, int]] = []
        lines = text.split("\n")
        at, above = 0, ""
        while at < len(lines):
            end = at
            while end < len(lines) and (not lines[end].strip() or goes_on(lines[end])):
                end += 1
            if any(line.strip() for line in lines[at:end]) and not _HEADS_CODE.search(above):
                runs = self.unfenced(textwrap.dedent("\n".join(lines[at:end])))
                found += [(block, at + first, at + last) for block, first, last in runs]
            above = lines[end] if end < len(lines) else ""  # it is neither empty nor indented
            at = end + 1
        return found

    def written_as_json(self, text: str) -> list[Block]:
        """The strings of a JSON text: of a string, or of an object that names one of them as the code."""
        text = text.strip()
        if not text.startswith(('"', "{")) or len(text) > MAX_CHARS:
            return []
        try:
            waiting: list[Any] = [json.loads(text, strict=False)]
        except (ValueError, RecursionError):
            return []
        found: list[Block] = []
        while waiting:
            value = waiting.pop(0)
            if isinstance(value, str):
                found.append(self.block(value))
            elif isinstance(value, dict):
                waiting += value.values()  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            elif isinstance(value, list):
                waiting += value  # pyright: ignore[reportUnknownArgumentType]
        return found

    def _may_begin(self, line: str) -> bool:
        """Whether `line` may be the first line of a run of Python."""
        if not _STATEMENT.match(line):
            return False
        tree = self.parse(f"{line}\n")
        return line[0] == "@" or not isinstance(tree, SyntaxError) or _INCOMPLETE.search(str(tree)) is not None

    def _run_end(self, lines: list[str], start: int) -> int:
        """The line after the longest run of Python from `start` on, which ends before the statement that is wrong."""
        end = len(lines)
        while end > start and self._chars:
            tree = self.parse("\n".join(lines[start:end]) + "\n")
            if not isinstance(tree, SyntaxError):
                return end
            end = min(end - 1, start + (tree.lineno or 1) - 1)
            while end > start and goes_on(lines[end]):  # inside of a statement: it is not cut in two
                end -= 1
        return start

    def tagged(self, text: str) -> list[tuple[Block, int, int]]:
        """What stands between tags such as `<solution>`, also if it begins on the line of the tag."""
        return [(self.block(match[2].strip("\n") + "\n"), 0, 0) for match in _TAGGED.finditer(text)]

    def spans(self, text: str) -> list[tuple[Block, int, int]]:
        """The code spans of `text`: code inside a line of prose."""
        found = (part.strip() for part in _TICKS.split(text)[1::2] if "\n" not in part.strip())
        return [(self.block(f"{code.removeprefix('python').strip()}\n"), 0, 0) for code in found]

    def numbered(self, text: str) -> list[tuple[Block, int, int]]:
        """Code with a number on each line, in a fence or without one."""
        texts = [text, *(block.text for block, _, _ in self.fenced(text) if block.tree is None)]
        blocks = [self.block(code) for each in texts for code in without_line_numbers(each)]
        return [(block, 0, 0) for block in blocks if block.tree is not None]

    def sessions(self, text: str) -> list[tuple[Block, int, int]]:
        """What the commands of Python sessions define, in a fence or without one."""
        fenced = [block.text for block, _, _ in self.fenced(text) if block.tree is None]
        defined = [defined_in_session(each) for each in fenced or [text] if len(each) <= MAX_CHARS]
        return [(self.block(code), 0, 0) for code in defined if code is not None]

    def first_outside_code(self, text: str, mark: re.Pattern[str]) -> re.Match[str] | None:
        """The first match of `mark` that is not part of code: in a fenced block that parses, or in a string."""
        matches = list(mark.finditer(text))
        if not matches or not isinstance(self.parse(text), SyntaxError):
            return None
        blocks = self.fenced(text)
        runs = self.unfenced(text)
        for match in matches:
            line = text.count("\n", 0, match.start())
            block = next((b for b, first, last in blocks if first < line < last and match[0] in b.text), None)
            if block is not None and block.tree is None:
                return match
            if block is None and not any(a <= line < z and _in_a_string(run.tree, match[0]) for run, a, z in runs):
                return match
        return None


def plain(reply: str) -> str:
    """The reply with one kind of line end, and without what only marks the beginning and end of code."""
    text = reply.replace("\r\n", "\n").replace("\r", "\n").replace("\n\ufeff", "\n").removeprefix("\ufeff")
    return without_end_tokens(_MARK_LINE.sub("", text))


def without_end_tokens(text: str) -> str:
    """The text without the tokens of a template that end it."""
    whole = shorter = text.rstrip()
    while token := _END_TOKEN.search(shorter, max(0, len(shorter) - _TOKEN_CHARS)):
        shorter = shorter[: token.start()].rstrip()
    return text if shorter == whole else f"{shorter}\n"


def fences(lines: Sequence[str], start: int = 0) -> Iterator[tuple[str, str, int, int]]:
    """(what its opening says, content, first line, line after it) of each fence from line `start` on, by CommonMark."""
    for token in _MARKDOWN.parse("\n".join(lines[start:])):
        if token.type == "fence" and token.map is not None:
            yield token.info, token.content, start + token.map[0], start + token.map[1]


def is_bare_fence(line: str) -> bool:
    """Whether a line is a fence that says nothing, so that it may close a block."""
    return _BARE_FENCE.fullmatch(line) is not None


def goes_on(line: str) -> bool:
    """Whether a line belongs to the statement above: it is indented, and no fence."""
    return line[:1].isspace() and _BARE_FENCE.fullmatch(line) is None


_TAG_LINE = re.compile(r"\A\s*(?:python|py|python3)[ \t]*\n(?:Copy(?: code)?[ \t]*\n)?", re.IGNORECASE)


def _language(info: str) -> str:
    """The language that a fence names."""
    if _PYTHON.match(info.strip()):
        return "python"
    return (info.split() or [""])[0].lower()


def _closed_in_line(content: str) -> str:
    """`content` up to the first line of code that ends with a fence, without that fence; "" if there is none."""
    lines = content.split("\n")
    for number, line in enumerate(lines):
        code = line.rstrip().rstrip("`~")
        if code.strip() and len(line.rstrip()) - len(code) >= len("```"):
            return "\n".join([*lines[:number], code, ""])
    return ""


def returns(tree: ast.Module) -> bool:
    """Whether it is a function's body: it returns outside of any function."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return False


def _in_a_string(tree: ast.Module | None, mark: str) -> bool:
    nodes: Iterator[ast.AST] = ast.walk(tree) if tree is not None else iter(())
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) and mark in n.value for n in nodes)
