"""The tree by hand: where a conversation goes on, where it forks, and what each segment is."""

from __future__ import annotations

from agent_rl.contracts import Generation
from agent_rl.rollouts.conversation import Conversation
from agent_rl.vocabulary import Message
from tests.unit.rollouts.support import PLAIN, SYSTEM_INTO_LAST_USER, THINKING_REMOVED, TRIMMED, chat

USER, END, REPLY = "<|im_start|>user\n", "<|im_end|>", "<|im_start|>assistant\n"


def talk(template: str, *turns: tuple[Message | str, str]) -> Conversation:
    """The conversation of these turns: what is said, and the reply's text, whose stop token is sampled."""
    tokenizer = chat(template)
    conversation = Conversation(tokenizer)
    for said, reply in turns:
        message = Message.user(said) if isinstance(said, str) else said
        conversation.send(conversation.plan([message]))
        ids = tuple(tokenizer.encode(reply + END))
        conversation.receive(Generation(ids, (-1.0,) * len(ids), (0,) * len(ids), "stop"))
    return conversation


def tree(conversation: Conversation) -> list[tuple[int | None, str, str]]:
    """Parent, source and text of each segment."""
    tokenizer = conversation.tokenizer
    return [(s.parent, s.source, tokenizer.decode_all(s.token_ids)) for s in conversation.segments]


def test_a_plain_conversation_is_one_branch() -> None:
    assert tree(talk(PLAIN, ("a", "b"), ("c", "d"))) == [
        (None, "template", USER),
        (0, "task", "a"),
        (1, "template", f"{END}\n{REPLY}"),
        (2, "model", f"b{END}"),
        (3, "template", f"\n{USER}"),
        (4, "task", "c"),
        (5, "template", f"{END}\n{REPLY}"),
        (6, "model", f"d{END}"),
    ]


def test_removed_thinking_forks_after_the_prompt_and_later_turns_keep_what_is_unchanged() -> None:
    conversation = talk(
        THINKING_REMOVED, ("a", "<think>x</think>b"), ("c", "d"), ("e", "<think>y</think>f"), ("g", "h")
    )
    assert tree(conversation) == [
        (None, "template", USER),
        (0, "task", "a"),
        (1, "template", f"{END}\n{REPLY}"),
        (2, "model", f"<think>x</think>b{END}"),
        # The first rewrite: from the end of the first prompt; what is left of the reply is the template's.
        (2, "template", f"b{END}\n{USER}"),
        (4, "task", "c"),
        (5, "template", f"{END}\n{REPLY}"),
        (6, "model", f"d{END}"),
        # No rewrite: it goes on from what was sampled.
        (7, "template", f"\n{USER}"),
        (8, "task", "e"),
        (9, "template", f"{END}\n{REPLY}"),
        (10, "model", f"<think>y</think>f{END}"),
        # The second rewrite: from the end of the third prompt, so that the sampled `d` stays as it was.
        (10, "template", f"f{END}\n{USER}"),
        (12, "task", "g"),
        (13, "template", f"{END}\n{REPLY}"),
        (14, "model", f"h{END}"),
    ]
    assert (conversation.forks, conversation.leaves) == (2, (3, 11, 15))


def test_trimmed_white_space_forks_from_the_prompt_it_answered() -> None:
    conversation = talk(TRIMMED, ("a", "b\n"), ("c", "d"))
    assert tree(conversation)[3:6] == [
        (2, "model", f"b\n{END}"),
        (2, "template", f"b{END}\n{USER}"),
        (4, "task", "c"),
    ]


def test_a_system_message_that_moves_forks_at_the_place_that_it_left() -> None:
    conversation = Conversation(chat(SYSTEM_INTO_LAST_USER))
    conversation.send(conversation.plan([Message.system("S"), Message.user("a")]))
    conversation.receive(Generation((300,), (-1.0,), (0,), "length"))
    request = conversation.plan([Message.user("b")])
    assert request.forks
    assert request.kept == 1  # `<s>[INST] ` stands before the system message, then before what follows it
    sent = conversation.tokenizer.decode_all(conversation.whole_prompt(request))
    assert sent.startswith("<s>[INST] a [/INST]")
    assert sent.endswith(f"{END}<s>[INST] S\n\nb [/INST]")


def test_a_template_that_keeps_nothing_begins_a_tree_of_its_own() -> None:
    conversation = talk(
        "{{ messages | length }}{% for m in messages %} {{ m.content }}{% endfor %}:", ("a", "b"), ("c", "d")
    )
    assert [parent for parent, _, _ in tree(conversation)].count(None) == 2
    assert (conversation.forks, len(conversation.leaves)) == (1, 2)


def test_nothing_is_recorded_by_planning() -> None:
    conversation = talk(PLAIN, ("a", "b"))
    before = tree(conversation)
    first, second = conversation.plan([Message.user("c")]), conversation.plan([Message.user("c")])
    assert first == second
    assert tree(conversation) == before


def test_a_conversation_may_go_on_without_a_new_message() -> None:
    conversation = talk(PLAIN, ("a", "b"))
    request = conversation.plan([])
    sent = conversation.tokenizer.decode_all(conversation.whole_prompt(request))
    assert sent == f"{USER}a{END}\n{REPLY}b{END}\n{REPLY}"
