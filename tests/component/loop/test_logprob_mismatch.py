"""The agreement check: what it measures, when a run is refused, and that it leaves no trace in one that goes on."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent_rl.config import Optimizer, RunConfig, parse_config
from agent_rl.contracts import Batch, GenerateRequest, Generation
from agent_rl.errors import InfrastructureError, PolicyError
from agent_rl.inference.start_policy import make_policy
from agent_rl.loop import open_run as run_module
from agent_rl.loop.logprob_mismatch import Difference, LogprobMismatch, MismatchWatch, fixed_prompts, measure_mismatch
from agent_rl.loop.run_display import Display
from agent_rl.loop.train import train
from tests.component.loop import tiny_runs as whole
from tests.unit.rollouts.support import PLAIN, chat, make_task

PROMPTS = ((1, 2, 3), (4, 5), (6,))
FLOAT32 = (1e-3, 0.05)


class ShiftedPolicy:
    """Says the same to everything; the learner below gives each -0.5, this -0.5 and its place's `shifts`."""

    def __init__(self, shifts: Sequence[float] = (0.0,) * 4, prompts: float = 0.0, version: int = 3) -> None:
        self.shifts, self.prompts, self.version = shifts, prompts, version
        self.says: tuple[int, ...] = (7, 8, 9, 10)
        self.requests: list[GenerateRequest] = []
        self.ended: list[str] = []
        self.scored = 0

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        self.requests += requests
        logprobs = tuple(-0.5 - shift for shift in self.shifts)
        return [Generation(self.says[: len(logprobs)], logprobs, (self.version,) * len(logprobs), "length")] * len(
            requests
        )

    async def score(self, ids: Sequence[int]) -> list[float]:
        self.scored += 1
        return [-0.5 - self.prompts] * (len(ids) - 1)

    async def end_session(self, session: str) -> None:
        self.ended.append(session)


class EvenLearner:
    """Finds every token of its vocabulary, 0 to 10, equally likely."""

    async def forward(self, batch: Batch, wanted: str = "logprobs") -> list[list[list[float]]]:
        if any(max(row.token_ids) > 10 for group in batch.groups for row in group.rows):
            raise IndexError("index out of range in self")
        return [[[-0.5] * len(row.token_ids) for row in group.rows] for group in batch.groups]


async def measured(policy: ShiftedPolicy, temperature: float = 1.0, samples: int = 1) -> LogprobMismatch:
    return await measure_mismatch(
        policy,  # pyright: ignore[reportArgumentType]
        EvenLearner(),  # pyright: ignore[reportArgumentType]
        PROMPTS,
        temperature=temperature,
        max_tokens=4,
        key=(5, 6),
        samples=samples,
    )


async def test_the_figures_are_the_shift_of_the_engine() -> None:
    # 3 prompts of 4 sampled tokens; the prompts' own tokens but the first of each are 2 + 1 + 0.
    found = await measured(ShiftedPolicy((0.0, 0.0, 0.25, 0.75), prompts=0.125))
    assert found.sampled == Difference(12, 0.25, 0.75)
    assert found.prompts == Difference(3, 0.125, 0.125)
    assert found.line(FLOAT32) == "mean 0.25, max 0.75 nats over 12 tokens (allowed 0.001, 0.05)"
    equal = await measured(ShiftedPolicy())
    assert (equal.sampled, equal.prompts) == (Difference(12, 0.0, 0.0), Difference(3, 0.0, 0.0))
    equal.require(FLOAT32, 3)


async def test_draws_have_keys_of_their_own_and_no_session_is_left_open() -> None:
    policy = ShiftedPolicy()
    await measured(policy, samples=2)
    assert [r.key for r in policy.requests] == [(5, 6, number, 0) for number in range(6)]
    assert [r.prompt_ids for r in policy.requests] == [*PROMPTS, *PROMPTS]
    assert sorted(policy.ended) == sorted(r.session for r in policy.requests)
    assert len(set(policy.ended)) == 6


@pytest.mark.parametrize(
    ("policy", "temperature", "message"),
    [
        # The mean, 0.002, is over its bound of 0.001; the largest is not.
        (ShiftedPolicy((0.002,) * 4), 1.0, r"own tokens they agree .* so look at the sampling: another temperature"),
        # The largest, 0.06, is over its bound of 0.05.
        (ShiftedPolicy((0.0, 0.0, 0.0, 0.06)), 1.0, r"mean 0\.015, max 0\.06 nats over 12 tokens \(allowed 0\.001, 0"),
        (ShiftedPolicy((0.25,) * 4, prompts=0.25), 1.0, r"disagree too .* look at the model: other weights"),
        (
            ShiftedPolicy((0.25,) * 4),
            0.7,
            r"temperature 0\.7: .* Likely causes: other weights, .* \(rope\) .*; another temp",
        ),
        (ShiftedPolicy((0.0, math.nan, 0.0, 0.0)), 1.0, "mean nan, max nan"),
    ],
)
async def test_beyond_either_bound_the_run_is_refused_with_the_likely_causes(
    policy: ShiftedPolicy, temperature: float, message: str
) -> None:
    found = await measured(policy, temperature)
    with pytest.raises(InfrastructureError, match=message):
        found.require(FLOAT32, 3)
    # An engine scores at temperature 1 only, and the learner does not.
    assert (found.prompts is None) == (temperature != 1.0) == (policy.scored == 0)


async def test_an_engine_that_samples_from_another_version_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"samples from version \[3\], and the learner has 4"):
        (await measured(ShiftedPolicy())).require(FLOAT32, 4)


async def test_an_engine_that_samples_nothing_is_refused() -> None:
    with pytest.raises(PolicyError, match="not one token"):
        await measured(ShiftedPolicy(shifts=()))


async def test_an_engine_whose_tokens_the_learner_does_not_have_is_refused() -> None:
    policy = ShiftedPolicy()
    policy.says = (7, 8, 9, 11)
    with pytest.raises(InfrastructureError, match="tokens that the learner's model does not have: other models"):
        await measured(policy)


def config(**changes: Any) -> RunConfig:
    return parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}, **changes})


def test_bounds_go_by_precision_unless_they_are_given() -> None:
    assert config().mismatch_bounds == (1e-3, 0.05)
    assert config(policy={"precision": "bfloat16"}).mismatch_bounds == (0.1, 1.5)
    assert config(learner={"precision": "bfloat16"}, mismatch={"max_mean": 0.2}).mismatch_bounds == (0.2, 1.5)


def test_prompts_are_those_of_the_same_tasks_in_any_order_and_of_several_lengths() -> None:
    tokenizer = chat(PLAIN)
    tasks = [make_task(i, f"Write program {i}. " * (i + 1)) for i in range(9)]
    prompts = fixed_prompts(tokenizer, tasks, 200)
    assert prompts == fixed_prompts(tokenizer, tasks[::-1], 200)
    # Four tasks', the fixed question, and all of them in a row, cut where there is no more room.
    assert len({len(prompt) for prompt in prompts}) == len(prompts) == 6
    assert len(prompts[-1]) == 200
    assert prompts[-1] == tuple(i for prompt in prompts[:-1] for i in prompt)[:200]
    assert all(len(prompt) <= 7 for prompt in fixed_prompts(tokenizer, tasks, 7))
    # Without any task there is the question alone: all in a row is the same.
    assert len(fixed_prompts(tokenizer, [], 200)) == 1


def test_training_warns_of_a_mismatch_that_staleness_does_not_explain() -> None:
    said: list[str] = []
    watch = MismatchWatch(0.1, said.append)
    # Warnings begin beyond 0.3, three times what is allowed, and come again when it has doubled.
    # Step 6 had no trained token, and so no mismatch.
    steps = [(0.2, 0), (9.0, 1), (0.4, 0), (0.7, 0), (0.9, 0), (None, 0)]
    for step, (mismatch, staleness) in enumerate(steps, start=1):
        watch.step({"step": step, "mismatch": mismatch, "staleness_max": staleness})
    assert [text.split(": learner")[0] for text in said] == ["warning: step 3", "warning: step 5"]
    assert "differ by 0.4 nats per token on average, with the same weights; 0.1 are allowed" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.7])
async def test_the_transformers_engine_and_the_learner_agree(tmp_path: Path, temperature: float) -> None:
    from agent_rl.inference.transformers_policy import TransformersPolicy
    from agent_rl.learner.torch_learner import TorchLearner
    from tests.component.inference.tiny import saved, tiny_model

    folders = [saved(tmp_path / str(seed), tiny_model("qwen3", seed=seed)) for seed in (0, 1)]
    prompts = [tuple(range(1, n)) for n in (2, 9, 40)]
    found: list[LogprobMismatch] = []
    for folder in folders:
        policy = TransformersPolicy(folder)
        learner = TorchLearner(folders[0], optimizer=Optimizer(), temperature=temperature, blob_prefix="agreeing")
        try:
            found.append(
                await measure_mismatch(policy, learner, prompts, temperature=temperature, max_tokens=32, key=(1, 2))
            )
            assert (await policy.status()).running == 0
        finally:
            await policy.close()
            await learner.close()
    same, other = found
    assert same.sampled.tokens == 3 * 32
    assert same.sampled.largest < 1e-5
    assert other.sampled.mean > 0.1  # other weights
    if temperature == 1.0:
        assert same.prompts is not None and other.prompts is not None
        assert same.prompts.largest < 1e-5 and other.prompts.mean > 0.1


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.slow
@pytest.mark.local_sandbox
async def test_a_run_whose_policy_has_other_weights_is_refused_before_its_first_step(
    tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    def doctored(runtime: Any, config: RunConfig, model: str, version: int, say: Any) -> Any:
        changed = AutoModelForCausalLM.from_pretrained(model)
        torch.nn.init.normal_(changed.get_parameter("model.embed_tokens.weight"), std=0.5)
        changed.save_pretrained(tmp_path / "other")
        return make_policy(runtime, config, str(tmp_path / "other"), version, say)

    monkeypatch.setattr(run_module, "make_policy", doctored)
    output = io.StringIO()
    with pytest.raises(InfrastructureError, match=r"disagree too .* so look at the model: other weights") as error:
        await train(parse_config(whole.settings(2)), tmp_path / "run", display=Display(Console(file=output, width=200)))
    assert error.value.exit_code == 3
    assert "mismatch: mean" in output.getvalue()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


@pytest.mark.slow
@pytest.mark.local_sandbox
async def test_the_check_leaves_no_trace_in_a_deterministic_run(
    recorded_run: Path, tmp_path: Path, own_cache: None
) -> None:
    output = io.StringIO()
    settings = parse_config({**whole.settings(20, **whole.DETERMINISTIC), "mismatch": {"check": False}})
    await train(settings, tmp_path / "unchecked", display=Display(Console(file=output, width=200)))
    printed = recorded_run.with_name("recorded-run.out").read_text()
    assert (printed.count("mismatch: "), output.getvalue().count("mismatch: ")) == (1, 0)
    whole.assert_equal(whole.outcome(recorded_run), whole.outcome(tmp_path / "unchecked"))
