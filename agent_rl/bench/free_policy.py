"""Parts of `bench controller`: a policy whose tokens cost nothing, a server with vLLM's routes, and an environment."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from agent_rl.contracts import (
    Agent,
    Environment,
    EnvironmentConfig,
    GenerateRequest,
    Generation,
    Policy,
    PolicyStatus,
    Sandbox,
    Verifier,
    WeightManifest,
)
from agent_rl.inference.vllm.http_client import NEEDED
from agent_rl.inference.vllm.plugin import BACKEND
from agent_rl.inference.vllm.vllm_policy import VllmPolicy
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import CallTests, Case, Message, Task, Verdict

TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_VARIANTS = 8
"""Different completions of one length."""
_VOCABULARY = 4096


class Completions:
    """Completions that are drawn once; each ends with the stop token."""

    def __init__(self, ordinary: tuple[int, int], stop: int) -> None:
        """`ordinary`: (first, last) of the ids that are no special tokens."""
        self._ordinary, self._stop = range(ordinary[0], ordinary[1] + 1), stop
        self._drawn: dict[tuple[int, int], Generation] = {}

    def of(self, count: int, variant: int) -> Generation:
        """A completion of `count` tokens at version 0, with log-probabilities as an engine gives them."""
        key = count, variant % _VARIANTS
        if key not in self._drawn:
            draw = random.Random(repr(key))
            ids = (*draw.choices(self._ordinary, k=count - 1), self._stop)
            logprobs = tuple(-draw.expovariate(1.0) for _ in ids)
            self._drawn[key] = Generation(ids, logprobs, (0,) * count, "stop")
        return self._drawn[key]


class FreePolicy(Policy):
    """Answers each request at once with as many tokens as it allows, the last of them the stop token."""

    def __init__(self, ordinary: tuple[int, int], stop: int) -> None:
        self._completions = Completions(ordinary, stop)

    async def cpu_seconds(self) -> float:
        """Processor time of this process so far, in seconds."""
        return time.process_time()

    async def generate(self, request: GenerateRequest) -> Generation:
        return self._completions.of(request.sampling.max_tokens, sum(request.key))

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return [await self.generate(request) for request in requests]

    async def score(self, ids: Sequence[int]) -> list[float]:
        return [-1.0] * (len(ids) - 1)

    async def end_session(self, session: str) -> None:
        return

    async def prepare_update(self, manifest: WeightManifest) -> None:
        raise NotImplementedError("it has no weights")

    async def finish_update(self, version: int) -> None:
        raise NotImplementedError("it has no weights")

    async def sleep(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")

    async def wake(self) -> None:
        raise NotImplementedError("nothing of it can be put to sleep")

    async def status(self) -> PolicyStatus:
        return PolicyStatus(0)


class MeasuredVllmPolicy(VllmPolicy):
    """vLLM's adapter, which also says what it costs."""

    async def cpu_seconds(self) -> float:
        """Processor time of this process so far, in seconds."""
        return time.process_time()


class FreeServer:
    """A server with the routes of vLLM; its answers were made before, and it reads no request. Runs as a role."""

    def __init__(self, ordinary: tuple[int, int], stop: int, count: int) -> None:
        """Every completion has `count` tokens."""
        completions = Completions(ordinary, stop)
        self._answers = [_answer(completions.of(count, variant)).encode() for variant in range(_VARIANTS)]
        self._asked = 0
        self._runner: web.AppRunner | None = None

    async def open(self, socket: str) -> None:
        """The server listens at the Unix socket `socket`."""
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([web.post("/inference/v1/generate", self._generate)])
        app.add_routes([web.get("/{route:.*}", self._told), web.post("/{route:.*}", self._told)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.UnixSite(self._runner, socket).start()

    async def close(self) -> None:
        """The server has ended."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _generate(self, request: web.Request) -> web.Response:
        await request.read()
        self._asked += 1
        return web.Response(body=self._answers[self._asked % _VARIANTS], content_type="application/json")

    async def _told(self, request: web.Request) -> web.Response:
        if request.path == "/metrics":
            return web.Response(text="")
        said: dict[str, Any] = {
            "/version": {"version": "stand-in"},
            "/openapi.json": {"paths": {route: {} for route in NEEDED}},
            "/weight_info": {"weight_version": "0"},
            "/server_info": {
                "vllm_config": {
                    "model_config": {"logprobs_mode": "processed_logprobs"},
                    "weight_transfer_config": {"backend": BACKEND},
                }
            },
        }
        return web.json_response(said.get(request.path, {}))


def _answer(generation: Generation) -> str:
    """`generation` in the form of vLLM's answers."""
    content = [
        {
            "token": f"token_id:{token}",
            "logprob": logprob,
            "bytes": list(f"token_id:{token}".encode()),
            "top_logprobs": [],
        }
        for token, logprob in zip(generation.token_ids, generation.logprobs, strict=True)
    ]
    choice = {
        "index": 0,
        "logprobs": {"content": content},
        "finish_reason": "stop",
        "token_ids": generation.token_ids,
        "weight_versions": [{"version": "0", "start": 0, "end": len(generation.token_ids)}],
    }
    return json.dumps({"request_id": "stand-in", "choices": [choice], "prompt_logprobs": None}, separators=(",", ":"))


class Dialogue(Environment):
    """Episodes of `turns` replies with an observation between them. It judges itself: every other rollout passes."""

    def __init__(self, verifier: Verifier, turns: int, observations: Sequence[str]) -> None:
        super().__init__(EnvironmentConfig(), verifier)
        self._turns = turns
        self._observations = observations
        self._ended = 0

    async def load(self, split: str) -> Sequence[Task]:
        return [Task("dialogue", (Message.user(self._observations[0]),), CallTests("f", (Case((1,), 1),)))]

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        await agent.say(task.prompt)
        for turn in range(1, self._turns):
            await agent.say(self._observations[turn % len(self._observations)])
        self._ended += 1
        passed = self._ended % 2 == 0
        return Verdict(passed, "passed" if passed else "failed", "values", None)


def word_tokenizer() -> tuple[ChatTokenizer, tuple[int, int]]:
    """A byte-level tokenizer trained on made-up words, and its ordinary ids: (first, last). Always the same."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(2 * _VOCABULARY)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(draw.choices(words, k=20)) for _ in range(2000)], trainer)
    # Merges come after the alphabet: their ids are words and parts of words.
    first = len(special) + len(pre_tokenizers.ByteLevel.alphabet())
    return ChatTokenizer(tokenizer, TEMPLATE), (first, tokenizer.get_vocab_size() - 1)
