"""Which script is meant by a reply to a task of a folder."""

from __future__ import annotations

import time

import pytest

from agent_rl.formats import ShellScript, script_in
from tests.unit.formats.reply_forms import common_forms, fenced

HI = "echo hi\n"


def block(text: str, opening: str = "```sh", closing: str = "```") -> str:
    return fenced(text, opening, closing)


PYTHON = fenced("print(1)\n")
README = "cat > R.md <<'EOF'\n# Use\n```python\nprint(1)\n```\nThen\n```\nx\n```\nEOF\necho done\n"
ONE_SCRIPT = {
    **common_forms(HI, "sh", "rm x\n"),
    "a file before": f"First the file:\n{PYTHON}Now:\n{block(HI)}",
    "a file behind": f"{block(HI)}It has run:\n{PYTHON}",
    "an untagged block behind": block(HI) + block("hi\n", "```"),
    "a session behind": block(HI) + block("$ cat answer.txt\nhi\n", "```console"),
    "untagged, then output": block(HI, "```") + "\nThis prints:\n\n" + block("hi\n", "```"),
    "untagged, then expected output": block(HI, "```") + "**Expected output:**\n" + block("hi\n", "```"),
    "untagged, what it does with output": f"It writes its output to a file:\n{block(HI, '```')}",
    "a session": block("$ echo hi\nhi\n", "```console"),
    "a session with a name": block("me@host:~/a$ echo hi\nhi\n", "```shell-session"),
    "a session that is tagged as a script": block("$ echo hi\nhi\n"),
    "a session of root": block("root@host:/w# echo hi\nhi\n", "```console"),
    "a session in a virtual environment": block("(venv) $ echo hi\nhi\n", "```console"),
    "a session at home": block("~/a $ echo hi\nhi\n", "```console"),
    "a session with a folder": block("[me@host a]$ echo hi\nhi\n", "```console"),
    "a session of bash": block("bash-5.1$ echo hi\nhi\n", "```console"),
    "a session below a comment": block("# It says hi.\n$ echo hi\nhi\n", "```console"),
    "a console without prompts": block(HI, "```console"),
}


@pytest.mark.parametrize("reply", ONE_SCRIPT.values(), ids=ONE_SCRIPT.keys())
def test_a_script_is_found_in_whatever_form_it_is_written(reply: str) -> None:
    assert script_in(reply) == ShellScript(HI, "sh")


@pytest.mark.parametrize("tag", ["bash", "Bash", "zsh", "ksh", "language-bash", "bash-session"])
def test_other_shells_are_run_by_bash(tag: str) -> None:
    text = "$ echo hi\nhi\n" if "session" in tag else HI
    assert script_in(block(text, f"```{tag}")) == ShellScript(HI, "bash")


WHOLE = {
    "a heredoc with fences": README,
    "a heredoc with a script": README.replace("python", "sh"),
    "a heredoc that is indented by tabs": "cat <<-E\n\t```\n\tx\n\t```\n\tE\n",
    "two heredocs": "cat <<A <<B\n```\nA\n```\nB\necho hi\n",
    "a comment about a heredoc": "# << E\necho hi\n",
    "a here-string": "cat <<< E\necho hi\n",
    "a mark of thinking in a command": "echo '<b></think>' > x\n",
    "marks of thinking in a heredoc": "cat <<E\n<think>\nx\n</think>\nE\n",
    "a file of settings": "cat > x.ini <<E\n[END]\na = 1\nE\n",
    "a shift by a variable": "x=$((1<<n))\necho $x\n",
    "a comment, then a variable": "# run\n$CMD hi\n",
    "an assignment with a dollar": "a=$b\necho $ a\n",
}


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("opening", ["```sh", "```"])
def test_a_script_is_neither_cut_nor_changed(script: str, opening: str) -> None:
    assert script_in(f"Do:\n{block(script, opening)}That is all.\n") == ShellScript(script)
    assert script_in(f"<think>\na\n</think>\n{block(script, opening)}") == ShellScript(script)


def test_a_session_is_its_commands() -> None:
    text = "$ cat > x <<E\n> a\n> E\n$ echo a \\\n> b\na b\n$ cat x\na\n"
    assert script_in(block(text, "```console")) == ShellScript("cat > x <<E\na\nE\necho a \\\nb\ncat x\n")


@pytest.mark.parametrize(
    "shebang", ["#!/bin/sh", "#!/usr/bin/env bash", "#! /bin/bash -e", "#!/usr/bin/env -S bash -e"]
)
def test_an_answer_that_begins_as_a_script_is_one(shebang: str) -> None:
    script = f"{shebang}\n{README.replace('python', 'sh')}"
    assert script_in(script) == ShellScript(script)
    assert script_in(f"<think>\na\n</think>\n\n{script}") == ShellScript(script)
    assert script_in(f"It is:\n{script.replace('```', '')}") is None


def test_an_answer_that_begins_as_another_program_is_no_script() -> None:
    assert script_in("#!/usr/bin/env python3\nprint(1)\n") is None
    assert script_in("#!/bin/fish\necho hi\n") is None


def test_a_shift_in_a_thought_hides_no_end_of_it() -> None:
    assert script_in(f"<think>\n```sh\nx=$((1<<n))\n</think>\n{block(HI)}") == ShellScript(HI)


NONE = {
    "nothing": "",
    "prose": "I run `echo hi`.",
    "another language": PYTHON,
    "text": block("hi\n", "```text"),
    "output of another language": f"{PYTHON}Output:\n{block('1', '```')}",
    "an empty block": block(""),
    "only thought": f"<think>\n{block(HI)}</think>\nI do not know.",
    "taken back": f"{block(HI)}</think>\nNo.",
}


@pytest.mark.parametrize("reply", NONE.values(), ids=NONE.keys())
def test_what_holds_no_script_runs_nothing(reply: str) -> None:
    assert script_in(reply) is None


def test_hostile_replies_to_folders_end() -> None:
    started = time.monotonic()
    fences = ["```" * 9000, "```\n" * 2000, "</think>\n" * 3000, "> " * 9000, "<think>\n" * 3000]
    scripts = [
        "cat <<E\n```\n```sh\n" * 500,
        "$ a <<E\n" * 3000,
        "$ a <<E\n" + "b\n" * 9000,
        "<<E " * 9000,
        "a@" * 9000,
    ]
    for reply in [*fences, *(block(script) for script in scripts), block("cat <<E\n" + "</think>\n" * 9000)]:
        script_in(f"{reply}\n{'output the ' * 2000}\n{block('x', '```')}", unfinished_thinking="read")
    assert time.monotonic() - started < 10
