"""Thinking is cut off a reply, and a tag that is only talked about is none."""

import pytest

from agent_rl.vocabulary.thinking import without_thinking


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("42", "42"),
        ("", ""),
        ("<think>6 * 7</think>42", "42"),
        ("6 * 7\n</think>\n\n42", "\n\n42"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>what does </think> do?</think>42", "42"),
        ("<THINK>a</THINK>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<seed:think>a</seed:think>b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|>b", "b"),
        ("<reasoning>a</reasoning><answer>b</answer>", "<answer>b</answer>"),
        ("<think>a</think>```python\nx = 1\n```", "```python\nx = 1\n```"),
        ("<think>never ends", None),
        ("a</think>b<think>and again", None),
        # Only mentioned: in a string, in an escaped string, in a text's code.
        ("print('<think>')", "print('<think>')"),
        ('a.split("</think>")[1]', 'a.split("</think>")[1]'),
        ("<think>a</think>x = t.index('</think>')", "x = t.index('</think>')"),
        (r'"<think>\nso"', r'"<think>\nso"'),
        ("the tag `<think>` begins it", "the tag `<think>` begins it"),
        ("a < think > b", "a < think > b"),
    ],
)
def test_what_follows_the_last_end_of_thinking_is_the_reply(text: str, reply: str | None) -> None:
    assert without_thinking(text) == reply
