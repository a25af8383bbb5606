"""Which script is meant by a reply to a task of a folder."""

from __future__ import annotations

import time

import pytest

from agent_rl.contracts import InvalidSubmission
from agent_rl.formats import ShellScript, script_in

HI = "echo hi\n"


def fenced(text: str, opening: str = "```sh", closing: str = "```") -> str:
    return f"{opening}\n{text}{closing}\n"


PYTHON = fenced("print(1)\n", "```python")
README = "cat > R.md <<'EOF'\n# Use\n```python\nprint(1)\n```\nThen\n```\nx\n```\nEOF\necho done\n"
ONE_SCRIPT = {
    "alone": fenced(HI),
    "a file before": f"First the file:\n{PYTHON}Now:\n{fenced(HI)}",
    "a file behind": f"{fenced(HI)}It has run:\n{PYTHON}",
    "output behind": f"{fenced(HI)}Output:\n{fenced('hi', '```')}",
    "an untagged block behind": fenced(HI) + fenced("hi\n", "```"),
    "text behind": fenced(HI) + fenced("hi\n", "```text"),
    "a session behind": fenced(HI) + fenced("$ cat answer.txt\nhi\n", "```console"),
    "two": fenced("echo no\n") + fenced(HI),
    "line ends of Windows": fenced(HI).replace("\n", "\r\n"),
    "an upper-case tag": fenced(HI, "```SH"),
    "a space before the tag": fenced(HI, "``` sh"),
    "words behind the tag": fenced(HI, "```sh title=x"),
    "a tag in braces": fenced(HI, "```{.sh}"),
    "tildes": fenced(HI, "~~~sh", "~~~"),
    "longer": fenced(HI, "`````sh", "`````"),
    "in a list": "- Run\n\n  ```sh\n  echo hi\n  ```\n",
    "in a quote": "> ```sh\n> echo hi\n> ```\n",
    "not closed": "Do:\n```sh\necho hi\n",
    "closed in its line": "```sh\necho hi```\n",
    "before a template's token": f"{fenced(HI)}<|im_end|>",
    "in Markdown": fenced(f"Do:\n{fenced(HI)}", "````markdown", "````"),
    "untagged": fenced(HI, "```"),
    "untagged, then output": fenced(HI, "```") + "\nThis prints:\n\n" + fenced("hi\n", "```"),
    "untagged, then expected output": fenced(HI, "```") + "**Expected output:**\n" + fenced("hi\n", "```"),
    "untagged, what it does with output": f"It writes its output to a file:\n{fenced(HI, '```')}",
    "a session": fenced("$ echo hi\nhi\n", "```console"),
    "a session with a name": fenced("me@host:~/a$ echo hi\nhi\n", "```shell-session"),
    "a session that is tagged as a script": fenced("$ echo hi\nhi\n"),
    "a session of root": fenced("root@host:/w# echo hi\nhi\n", "```console"),
    "a session in a virtual environment": fenced("(venv) $ echo hi\nhi\n", "```console"),
    "a session at home": fenced("~/a $ echo hi\nhi\n", "```console"),
    "a session with a folder": fenced("[me@host a]$ echo hi\nhi\n", "```console"),
    "a session of bash": fenced("bash-5.1$ echo hi\nhi\n", "```console"),
    "a session below a comment": fenced("# It says hi.\n$ echo hi\nhi\n", "```console"),
    "a console without prompts": fenced(HI, "```console"),
    "thinking": f"<think>\n{fenced('rm x')}</think>\n{fenced(HI)}",
    "thinking without an opening": f"So.\n</think>\n{fenced(HI)}",
    "thinking that holds an open fence": f"<think>\n```sh\nrm -rf x\n</think>\n{fenced(HI)}",
    "thinking again after the answer": f"{fenced(HI)}\n<think>\nOr else",
}


@pytest.mark.parametrize("reply", ONE_SCRIPT.values(), ids=ONE_SCRIPT.keys())
def test_a_script_is_found_in_whatever_form_it_is_written(reply: str) -> None:
    assert script_in(reply) == ShellScript(HI, "sh")


@pytest.mark.parametrize("tag", ["bash", "Bash", "zsh", "ksh", "language-bash", "bash-session"])
def test_other_shells_are_run_by_bash(tag: str) -> None:
    text = "$ echo hi\nhi\n" if "session" in tag else HI
    assert script_in(fenced(text, f"```{tag}")) == ShellScript(HI, "bash")


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
    assert script_in(f"Do:\n{fenced(script, opening)}That is all.\n") == ShellScript(script)
    assert script_in(f"<think>\na\n</think>\n{fenced(script, opening)}") == ShellScript(script)


def test_a_session_is_its_commands() -> None:
    text = "$ cat > x <<E\n> a\n> E\n$ echo a \\\n> b\na b\n$ cat x\na\n"
    assert script_in(fenced(text, "```console")) == ShellScript("cat > x <<E\na\nE\necho a \\\nb\ncat x\n")


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
    assert script_in(f"<think>\n```sh\nx=$((1<<n))\n</think>\n{fenced(HI)}") == ShellScript(HI)


NONE = {
    "nothing": "",
    "prose": "I run `echo hi`.",
    "another language": PYTHON,
    "text": fenced("hi\n", "```text"),
    "output of another language": f"{PYTHON}Output:\n{fenced('1', '```')}",
    "an empty block": fenced(""),
    "only thought": f"<think>\n{fenced(HI)}</think>\nI do not know.",
    "taken back": f"{fenced(HI)}</think>\nNo.",
}


@pytest.mark.parametrize("reply", NONE.values(), ids=NONE.keys())
def test_what_holds_no_script_runs_nothing(reply: str) -> None:
    assert script_in(reply) is None


@pytest.mark.parametrize("reply", [f"<think>\n{fenced(HI)}", f"a</think>\n<think>\n{fenced(HI)}"])
def test_a_script_that_was_only_thought_is_no_answer_unless_a_setting_says_so(reply: str) -> None:
    with pytest.raises(InvalidSubmission, match="the thinking never ends"):
        script_in(reply)
    assert script_in(reply, unfinished_thinking="read") == ShellScript(HI)


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
    for reply in [*fences, *(fenced(script) for script in scripts), fenced("cat <<E\n" + "</think>\n" * 9000)]:
        script_in(f"{reply}\n{'output the ' * 2000}\n{fenced('x', '```')}", unfinished_thinking="read")
    assert time.monotonic() - started < 10
