"""What a model only thought is no part of its answer. A mark in code, or one that prose mentions, is no mark."""

from __future__ import annotations

import pytest

from agent_rl.contracts import InvalidSubmission
from agent_rl.formats import ShellScript, script_in
from agent_rl.formats.reply_program import program_in
from agent_rl.vocabulary.thinking import ENDING
from tests.unit.formats.reply_forms import COMPLETION, FUNCTION, MODULE, WHOLE, F, fenced

HI = "echo hi\n"

MARKS = {
    "fenced": fenced("def f(s):\n    return s.split('</think>')[-1]\n"),
    "after thinking": "<think>a</think>\n" + fenced("def f(s):\n    return s.split('</think>')[-1]\n"),
    "twice after thinking": "a</think>\n" + fenced("def f(s):\n    # </think>\n    return s.split('</think>')[-1]\n"),
    "unfenced": "def f(s):\n    return s.split('</think>')[-1]\n",
    "unfenced, then prose": "def f(s):\n    return s.split('</think>')[-1]\n\nThis is it.\n",
}


@pytest.mark.parametrize("reply", MARKS.values(), ids=MARKS.keys())
def test_a_mark_of_thinking_inside_of_code_is_code(reply: str) -> None:
    assert program_in(reply, FUNCTION).rstrip().endswith("return s.split('</think>')[-1]")


def test_an_opening_inside_of_a_string_opens_nothing() -> None:
    code = 'def f(s):\n    return """\n<think>\n""" + s\n'
    assert program_in(fenced(code), FUNCTION) == code


MENTIONS = {
    "before": f"<think> tags are dropped by it:\n{fenced(F)}",
    "both, before": f"<think> and </think> are dropped by it:\n{fenced(F)}",
    "the end, behind": f"{fenced(F)}It drops all up to a </think> tag.",
    "the end of a sentence": f"{fenced(F)}It drops all up to </think>.",
    "in brackets": f"{fenced(F)}It drops thinking (from <think> to </think>).",
    "in a list": f"These are dropped:\n<think>, [THINK] and more.\n{fenced(F)}",
    "after thinking": f"<think>\na\n</think>\n<think> blocks are dropped by it:\n{fenced(F)}",
}


@pytest.mark.parametrize("reply", MENTIONS.values(), ids=MENTIONS.keys())
def test_a_mark_of_thinking_that_prose_mentions_is_none(reply: str) -> None:
    assert program_in(reply, FUNCTION).rstrip() == F.rstrip()


def test_words_after_a_mark_are_thinking_where_they_say_nothing_of_it() -> None:
    for opening in ("<think> Tags", "<think> I", "<think>tags are", "<think> tags = set()", "<think>..."):
        with pytest.raises(InvalidSubmission):
            program_in(f"{opening} so\n{fenced(F)}", FUNCTION)
    assert ENDING.search("a</think> tags = [1]") and not ENDING.search("a</think> tags are dropped")


@pytest.mark.parametrize("reply", [f"<think>\n{fenced(F)}", f"a</think>\n<think>\n{F}", "Well.\n<thinking>\nhm"])
def test_thinking_that_never_ends_is_no_answer(reply: str) -> None:
    for wanted in (FUNCTION, WHOLE, MODULE, COMPLETION):
        with pytest.raises(InvalidSubmission, match="the thinking never ends"):
            program_in(reply, wanted)


def test_a_setting_reads_unfinished_thinking_as_an_answer() -> None:
    assert program_in(f"<think>\n{fenced(F)}", FUNCTION, unfinished_thinking="read") == F


@pytest.mark.parametrize("reply", [f"<think>\n{fenced(HI, '```sh')}", f"a</think>\n<think>\n{fenced(HI, '```sh')}"])
def test_a_script_that_was_only_thought_is_no_answer_unless_a_setting_says_so(reply: str) -> None:
    with pytest.raises(InvalidSubmission, match="the thinking never ends"):
        script_in(reply)
    assert script_in(reply, unfinished_thinking="read") == ShellScript(HI)
