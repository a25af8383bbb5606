"""What vLLM's adapter writes and reads: prompts kept as JSON, and answers of which not all is decoded."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from agent_rl.contracts import GenerateRequest, SamplingParams, SessionLost
from agent_rl.errors import PolicyError
from agent_rl.inference.vllm.session_prompts import JsonIds, SessionPrompts
from agent_rl.inference.vllm.vllm_answers import generation_of


def ask(ids: tuple[int, ...], session: str = "s", follows: int = 0) -> GenerateRequest:
    return GenerateRequest(ids, SamplingParams(), (0,), session, follows=follows)


def test_ids_are_an_array_however_they_were_added_and_cut() -> None:
    draw = random.Random(0)
    for _ in range(200):
        ids, kept = JsonIds(), list[int]()
        for _ in range(draw.randint(0, 8)):
            new = [draw.randint(0, 99_999) for _ in range(draw.randint(0, 5))]
            ids.add(new)
            kept += new
            if draw.random() < 0.5:
                count = draw.randint(0, len(kept))
                ids.cut(count)
                del kept[count:]
            assert ids.count == len(kept)
            assert json.loads(ids.array(b'{"ids": ', b"}")) == {"ids": kept}


def test_a_session_that_another_request_uses_is_lost_to_the_next() -> None:
    sessions = SessionPrompts()
    first = sessions.begin(ask((1, 2)))
    with pytest.raises(SessionLost):
        sessions.begin(ask((4,), follows=2))
    sessions.answered("s", first, (3,))
    assert json.loads(sessions.begin(ask((4,), follows=3)).array(b"", b"")) == [1, 2, 3, 4]


def test_a_session_that_ended_during_its_request_is_not_kept() -> None:
    sessions = SessionPrompts()
    first = sessions.begin(ask((1, 2)))
    sessions.end("s")
    sessions.answered("s", first, (3,))
    with pytest.raises(SessionLost):
        sessions.begin(ask((4,), follows=3))


def answer(numbers: list[Any], **changes: Any) -> dict[str, Any]:
    """An answer in vLLM's form."""
    ids = list(range(10, 10 + len(numbers)))
    content = [
        {"token": f'"logprob":-9.0,{i}', "logprob": p, "bytes": [1, 93, 125], "top_logprobs": []}
        for i, p in zip(ids, numbers, strict=True)
    ]
    choice = {
        "index": 0,
        "logprobs": {"content": content},
        "finish_reason": "stop",
        "token_ids": ids,
        "weight_versions": [{"version": "2", "start": 0, "end": len(ids)}],
        **changes,
    }
    return {"request_id": "r", "choices": [choice], "prompt_logprobs": None}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("reordered", [False, True])
def test_log_probabilities_are_those_of_the_answer(separators: tuple[str, str], reordered: bool) -> None:
    said = answer([-0.6931471824645996, -1e-05, -1.5e-7, -12, 0.0, 1e-9])
    if reordered:
        (choice,) = said["choices"]
        said["choices"] = [dict(reversed(choice.items()))]
    generation = generation_of(json.dumps(said, separators=separators), 0)
    assert generation.token_ids == (10, 11, 12, 13, 14, 15)
    assert generation.logprobs == (-0.6931471824645996, -1e-05, -1.5e-7, -12, 0.0, 0.0)  # never above 0
    assert (generation.versions, generation.finish_reason) == ((2,) * 6, "stop")


def test_other_log_probabilities_are_not_taken_for_the_tokens() -> None:
    said = answer([-0.5, -0.25])
    for row in said["choices"][0]["logprobs"]["content"]:
        row["top_logprobs"] = [{"token_id": 1, "logprob": -0.125}, {"token_id": 2, "logprob": -3.0}]
    text = json.dumps(said, separators=(",", ":"))
    assert generation_of(text, 0).logprobs == (-0.5, -0.25)
    assert generation_of(text, 0).top_logprobs == ()
    assert generation_of(text, 1).top_logprobs == (((1, -0.125),),) * 2


def test_answers_that_are_not_whole_are_refused() -> None:
    def compact(said: dict[str, Any]) -> str:
        return json.dumps(said, separators=(",", ":"))

    assert generation_of(compact(answer([], logprobs=None, token_ids=None, finish_reason="abort")), 0).token_ids == ()
    changes = {"token_ids": [1, 2, 3], "weight_versions": [{"version": "2", "start": 0, "end": 3}]}
    with pytest.raises(PolicyError, match="2 log-probabilities for 3 tokens"):
        generation_of(compact(answer([-1.0, -1.0], **changes)), 0)
    with pytest.raises(PolicyError, match="unknown reason: 'tired'"):
        generation_of(compact(answer([-1.0], finish_reason="tired")), 0)
    with pytest.raises(PolicyError, match="versions of 0 of 1 tokens"):
        generation_of(compact(answer([-1.0], weight_versions=[])), 0)
