"""Reads vLLM's answers to generation requests.

Most of an answer is one object a token, of which only the log-probability is wanted. Where no other log-probabilities
were asked for, these numbers are picked from the text: decoding all of it takes four times as long.
"""

from __future__ import annotations

import json
import re
from typing import Any

from agent_rl.contracts.policy import Generation
from agent_rl.errors import PolicyError
from agent_rl.vocabulary.trajectory import FinishReason

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "cancelled"}
_CONTENT, _AFTER = '"content":[', ']},"finish_reason":'
_LOGPROB = re.compile(r'"logprob":(-?[0-9][0-9.eE+-]*)')
"""Neither this nor the two texts above can stand inside a JSON string, where a quotation mark follows a backslash."""


def generation_of(answer: str, top_logprobs: int) -> Generation:
    """The server's answer as a generation. Raises PolicyError if it does not say which version sampled each token."""
    logprobs = None
    if not top_logprobs:
        answer, logprobs = _without_content(answer)
    choice = json.loads(answer)["choices"][0]
    ids = tuple(choice["token_ids"] or ())
    content: list[dict[str, Any]] = (choice["logprobs"] or {}).get("content") or []
    if logprobs is None:
        logprobs = [row["logprob"] for row in content]
    versions = _versions(choice.get("weight_versions") or [], len(ids))
    if len(logprobs) != len(ids):
        raise PolicyError(f"vLLM gave {len(logprobs)} log-probabilities for {len(ids)} tokens")
    finish = _FINISH.get(choice["finish_reason"] or "")
    if finish is None:
        raise PolicyError(f"vLLM ended a request for an unknown reason: {choice['finish_reason']!r}")
    ranked: list[tuple[tuple[int, float], ...]] = []
    if top_logprobs:
        for row in content:
            best = {entry["token_id"]: entry for entry in row["top_logprobs"]}.values()
            pairs = [(e["token_id"], e["logprob"]) for e in sorted(best, key=lambda e: -e["logprob"])]
            ranked.append(tuple(pairs[:top_logprobs]))
    if logprobs and max(logprobs) > 0.0:  # by a rounding error of the server
        logprobs = [min(0.0, logprob) for logprob in logprobs]
    return Generation(ids, tuple(logprobs), versions, finish, tuple(ranked))


def _without_content(answer: str) -> tuple[str, list[float] | None]:
    """The answer without the objects of its tokens, and their log-probabilities.

    The answer as it is and None if it is not written as expected: the caller then decodes all of it.
    """
    start = answer.find(_CONTENT)
    end = answer.find(_AFTER, start)
    if start < 0 or end < 0:
        return answer, None
    start += len(_CONTENT)
    content = answer[start:end]
    logprobs = list(map(float, _LOGPROB.findall(content)))
    # As many numbers as objects without others: each object names one, its own.
    if content.count('"top_logprobs":[]') != len(logprobs):
        return answer, None
    return answer[:start] + answer[end:], logprobs


def _versions(spans: list[dict[str, Any]], count: int) -> tuple[int, ...]:
    """The version of each of `count` tokens, from spans of tokens with equal versions."""
    versions: list[int] = []
    for span in spans:
        if not str(span["version"]).isdigit():
            raise PolicyError(f"vLLM served a version that this run did not name: {span['version']!r}")
        versions += [int(span["version"])] * (span["end"] - span["start"])
    if len(versions) != count:
        raise PolicyError(f"vLLM named the versions of {len(versions)} of {count} tokens")
    return tuple(versions)
