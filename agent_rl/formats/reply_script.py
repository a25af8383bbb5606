"""Decides which shell script is meant by a reply to a task of a folder: the same for training, evaluation and `verify`.

1. Thinking is cut: what follows its last end counts. A mark inside a block's line or heredoc is part of the block.
2. The last block that is tagged as a shell script counts.
3. Else the last session: a block whose commands stand behind `$ `. Its other lines are output.
4. Else the last block without a tag, unless what stands above it says that it is output.
5. An answer that begins with a shell's `#!` is a script as a whole.

Blocks are CommonMark's (see `formats.code_blocks`). Beyond that, a block goes on over the fences in its own heredoc,
and a block of Markdown stands for the scripts in it. Nothing is run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent_rl.formats.code_blocks import fences, is_bare_fence, without_end_tokens
from agent_rl.formats.unfinished_thinking import UnfinishedThinking, before_unfinished
from agent_rl.vocabulary.thinking import ENDING, OPENING_LINE

_SH = frozenset({"sh", "shell", "dash", "ash", "posix", "shellscript", "shell-script"})
_BASH = frozenset({"bash", "zsh", "ksh"})
_SESSIONS = frozenset(
    {"console", "terminal", "session", "shell-session", "shellsession", "sh-session", "bash-session", "zsh-session"}
)
_MAY_BE_SCRIPT = _SH | _BASH | _SESSIONS | {""}
_MARKDOWN_TAGS = frozenset({"", "md", "markdown"})
_TAG = re.compile(r"[{.\s]*(?:lang(?:uage)?-)?([\w+#-]*)")
_PROMPT = re.compile(
    r"[ \t]*(?:\([\w.-]{1,40}\) )?"
    r"(?:\[?[\w.-]{1,40}@[\w.-]{1,40}[^$#\n]{0,80}[$#]|(?:~[\w./-]{0,80} ?|bash-[\d.]{1,8})?\$|❯) (.*)"
)
"""`$ `, `me@host:~/a$ `, `root@host:/w# `, `(venv) me@host ~ $ `, `[me@host a]$ `, `~/a $ `, `bash-5.1$ `."""
_CONTINUED = re.compile(r"> ?")
_HEREDOC = re.compile(r"(?<!<)<<(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|\\?([A-Za-z_][\w.-]*))")
_ARITHMETIC = re.compile(r"\(\([^()\n]*\)\)")
"""`$((1 << n))` has no heredoc."""
_SHEBANG = re.compile(r"#![ \t]*/\S*?(?:\benv[ \t]+)?(?:-S[ \t]+)?\b(ba|da|z|k)?sh\b.*\n")
_OUTPUT = re.compile(
    r"\W*(?:(?:and|the|this|that|its|it|which|expected|sample|example|console|program|script|command)'?s?\W+)*"
    r"(?:outputs?|results?|std(?:out|err)|prints?|printed|shows?|logs?)"
    r"(?:\W+(?:is|are|be|will|would|should|this|like|looks|following|the|in|then|now))*\W*",
    re.IGNORECASE,
)
"""The line above a block of output."""
_MOST_HEREDOCS = 16
"""With fences inside, in one text."""
_MOST_ENDS = 4
"""Of thinking that are cut one by one. Of more ends the last counts."""
_MOST_MENTIONS = 16
_DEPTH = 3
"""Of blocks inside blocks."""


@dataclass(frozen=True, slots=True)
class ShellScript:
    """A script, and the shell that its block asks for: "bash" or "sh"."""

    text: str
    shell: str = "sh"


@dataclass(frozen=True, slots=True)
class _Fenced:
    language: str
    text: str
    first: int
    last: int
    """Its lines: that of its opening, and the one after it."""
    above: str
    """The line above it that is not empty."""


def script_in(reply: str, *, unfinished_thinking: UnfinishedThinking = "invalid") -> ShellScript | None:
    """The script that is meant by `reply`; None if it holds none.

    Raises InvalidSubmission if its thinking never ends, unless `unfinished_thinking` is "read".
    """
    text = reply.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    answer = _answer(without_end_tokens(text), unfinished_thinking)
    whole = answer.strip() + "\n"
    return ShellScript(whole) if _SHEBANG.match(whole) else _chosen(_blocks(answer))


def _chosen(blocks: Sequence[_Fenced]) -> ShellScript | None:
    sessions = [_commands(block.text) for block in blocks]
    tagged = [b for b, commands in zip(blocks, sessions, strict=True) if not commands and b.language in _SH | _BASH]
    if tagged:
        return ShellScript(tagged[-1].text, "bash" if tagged[-1].language in _BASH else "sh")
    for block, commands in zip(reversed(blocks), reversed(sessions), strict=True):
        if commands and block.language in _MAY_BE_SCRIPT:
            return ShellScript(commands, "bash" if block.language.startswith("bash") else "sh")
    untagged = [b for b in blocks if b.language in _SESSIONS | {""} and not _OUTPUT.fullmatch(b.above)]
    return ShellScript(untagged[-1].text) if untagged else None


def _commands(text: str) -> str:
    """The commands of a session, whose first line but comments begins with a prompt; "" for any other text."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if _PROMPT.fullmatch(first) is None:
        return ""
    commands: list[str] = []
    heredocs = _Heredocs()
    goes_on = False
    for line in lines:
        prompt = _PROMPT.fullmatch(line)
        if not goes_on and prompt is None:
            continue
        command = prompt[1] if prompt is not None and not goes_on else _CONTINUED.sub("", line, count=1)
        commands.append(command)
        heredocs.feed(command)
        goes_on = command.endswith("\\") or heredocs.is_open
    return "\n".join(commands) + "\n"


class _Heredocs:
    """Follows a script line by line. `is_open`: whether the lines so far end inside of a heredoc."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._words: list[tuple[str, bool]] = []
        for line in lines:
            self.feed(line)

    @property
    def is_open(self) -> bool:
        return bool(self._words)

    def feed(self, line: str) -> None:
        if self._words:
            word, tabs = self._words[0]
            if (line.lstrip("\t") if tabs else line) == word:
                del self._words[0]
        elif "<<" in line and not line.lstrip().startswith("#"):
            command = _ARITHMETIC.sub("", line)
            self._words = [(m[2] or m[3] or m[4], bool(m[1])) for m in _HEREDOC.finditer(command)]


def _blocks(text: str, depth: int = 0) -> list[_Fenced]:
    """The fenced blocks of `text` that hold anything, in order."""
    found: list[_Fenced] = []
    lines = text.split("\n") if "```" in text or "~~~" in text else []
    start, tried = 0, 0
    while True:
        ended = start
        for info, text_of, first, last in fences(lines, start):
            language = _language(info)
            content = _closed_in_line(text_of)
            if language in _MAY_BE_SCRIPT and tried < _MOST_HEREDOCS and _Heredocs(content.split("\n")).is_open:
                tried += 1
                content, ended = _over_inner_fences(lines, first, last, content)
            above = next((line for line in reversed(lines[max(0, first - 4) : first]) if line.strip()), "")
            block = _Fenced(language, content, first, max(last, ended), above)
            found += _inside(block, depth) or ([block] if content.strip() else [])
            if ended > last:
                break  # what the parser took for fences behind it is not: it goes on from here
            ended = start
        if ended == start:
            break
        start = ended
    return found


def _inside(block: _Fenced, depth: int) -> list[_Fenced]:
    """The blocks in a block of Markdown, if one of them is a script."""
    if block.language not in _MARKDOWN_TAGS or depth >= _DEPTH or _HEREDOC.search(block.text.partition("```")[0]):
        return []
    inner = _blocks(block.text, depth + 1)
    if not any(b.language in _MAY_BE_SCRIPT and b.language for b in inner):
        return []
    return [_Fenced(b.language, b.text, block.first, block.last, b.above) for b in inner]


def _over_inner_fences(lines: Sequence[str], first: int, last: int, content: str) -> tuple[str, int]:
    """(content, line after it) of a block whose heredoc holds fences; as it was if the heredoc never ends."""
    indent = len(lines[first]) - len(lines[first].lstrip(" "))
    heredocs = _Heredocs()
    inside: list[str] = []
    for number in range(first + 1, len(lines)):
        line = lines[number]
        line = line[min(indent, len(line) - len(line.lstrip(" "))) :]
        if number >= last - 1 and is_bare_fence(line) and not heredocs.is_open:
            return "\n".join(inside) + "\n", number + 1
        inside.append(line)
        heredocs.feed(line)
    return (content, last) if heredocs.is_open else ("\n".join(inside) + "\n", len(lines))


def _closed_in_line(content: str) -> str:
    """`content` up to the first command that ends with a fence, without that fence: `echo hi` and three backticks."""
    heredocs = _Heredocs()
    lines = content.split("\n") if "```" in content else []
    for number, line in enumerate(lines):
        code = line.rstrip().rstrip("`")
        if code.strip() and len(line.rstrip()) - len(code) >= len("```") and not heredocs.is_open:
            return "\n".join([*lines[:number], code, ""])
        heredocs.feed(line)
    return content


def _language(info: str) -> str:
    found = _TAG.match(info)
    return found[1].lower() if found is not None else ""


def _answer(reply: str, unfinished_thinking: UnfinishedThinking) -> str:
    """What follows the last end of thinking. Raises InvalidSubmission if the thinking never ends."""
    for number in range(_MOST_ENDS):
        blocks = _blocks(reply)
        ends = list(ENDING.finditer(reply))
        end = next((match for match in ends[:_MOST_MENTIONS] if not _is_code(reply, match, blocks)), None)
        if end is None:
            break
        reply = reply[(ends[-1] if number == _MOST_ENDS - 1 else end).end() :]
    blocks = _blocks(reply)
    opening = next((m for m in OPENING_LINE.finditer(reply) if _block_around(reply, m, blocks) is None), None)
    return before_unfinished(reply, opening, unfinished_thinking, lambda shown: _chosen(_blocks(shown)) is not None)


def _is_code(reply: str, end: re.Match[str], blocks: Sequence[_Fenced]) -> bool:
    """Whether the end of thinking is part of a block: of a command, or of a heredoc.

    On a line of its own it ends a thought that holds an open fence.
    """
    block = _block_around(reply, end, blocks)
    if block is None:
        return False
    before = reply[: end.start()].split("\n")
    return bool(before[-1].strip()) or _Heredocs(before[block.first + 1 :]).is_open


def _block_around(reply: str, match: re.Match[str], blocks: Sequence[_Fenced]) -> _Fenced | None:
    line = reply.count("\n", 0, match.start())
    return next((b for b in blocks if b.first < line < b.last and match[0].strip() in b.text), None)
