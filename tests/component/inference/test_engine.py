"""The transformers engine against plain transformers, and what it reuses, bounds and frees."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from agent_rl.contracts import GenerateRequest, Generation, SamplingParams
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.inference.scheduler import EngineLimits
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.weights.shared_memory import SharedMemorySender
from tests.component.inference.tiny import VOCABULARY, Architecture, plain_logprobs, saved, tiny_model

Start = Callable[..., TransformersPolicy]


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts engines on a model, all closed at the end."""
    policies: list[TransformersPolicy] = []

    def starter(model: PreTrainedModel, **options: object) -> TransformersPolicy:
        folder = saved(tmp_path / f"model-{len(policies)}", model)
        policies.append(TransformersPolicy(folder, **options))  # pyright: ignore[reportArgumentType]
        return policies[-1]

    yield starter
    for policy in policies:
        await policy.close()


def ask(ids: list[int], key: int, *, session: str = "", group: str = "", shared: int = 0, **sampling: object):
    params = SamplingParams(**sampling)  # pyright: ignore[reportArgumentType]
    return GenerateRequest(tuple(ids), params, (key,), session, group, shared)


def worst(model: PreTrainedModel, ids: list[int], generation: Generation) -> float:
    """The largest difference of a log-probability from what plain transformers computes for the same ids."""
    expected = plain_logprobs(model, ids + list(generation.token_ids))[len(ids) - 1 : -1]
    tokens = torch.tensor(generation.token_ids)
    return (expected.gather(1, tokens[:, None])[:, 0] - torch.tensor(generation.logprobs)).abs().max().item()


def tokens_kept(tokens: int, architecture: Architecture = "llama") -> int:
    """Bytes of that many tokens' keys and values: 2 layers, 2 of them, 4 bytes, head_dim 8, 4 heads or 2."""
    return tokens * 2 * 2 * 4 * 8 * (4 if architecture == "llama" else 2)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("forward", ["auto", "module"])
@pytest.mark.parametrize("case", ["plenty of room", "few rows, prompts in parts", "little memory"])
async def test_logprobs_are_those_of_the_plain_model(
    start: Start, architecture: Architecture, case: str, forward: str
) -> None:
    model = tiny_model(architecture)
    limits = {
        "plenty of room": EngineLimits(),
        "few rows, prompts in parts": EngineLimits(max_batch=5, max_prefill=17),
        # about four of the twelve conversations at their longest
        "little memory": EngineLimits(max_batch=64, kv_bytes=tokens_kept(400, architecture)),
    }
    policy = start(model, limits=limits[case], forward=forward)
    draw = random.Random(0)

    async def converse(group: int, member: int) -> float:
        """The largest difference over three turns; odd groups' prompts go on after what they share."""
        shared = [random.Random(group).randrange(VOCABULARY) for _ in range(20 + 15 * group)]
        ids = shared + [draw.randrange(VOCABULARY) for _ in range(member if group % 2 else 0)]
        largest = 0.0
        for turn in range(3):
            request = ask(
                ids,
                1000 * group + 10 * member + turn,
                session=f"{group}/{member}",
                group=f"group {group}",
                shared=len(shared),
                max_tokens=draw.randrange(1, 45),
                stop_token_ids=(1, 2),
            )
            generation = await policy.generate(request)
            largest = max(largest, worst(model, ids, generation))
            ids = ids + list(generation.token_ids) + [draw.randrange(VOCABULARY) for _ in range(draw.randrange(1, 25))]
            await asyncio.sleep(0.01 * draw.random())
        await policy.end_session(f"{group}/{member}")
        return largest

    differences = await asyncio.gather(*(converse(group, member) for group in range(3) for member in range(4)))
    assert max(differences) < 1e-4
    status = await policy.status()
    assert status.details["idle_sessions"] == status.details["prefixes"] == status.details["kept_tokens"] == 0
    assert (status.details["evictions"] > 0) == (case == "little memory")


async def test_only_what_is_new_is_read(start: Start) -> None:
    policy = start(tiny_model())
    prompt = list(range(30))

    async def read(request: GenerateRequest) -> tuple[Generation, float]:
        before = (await policy.status()).details["read_tokens"]
        generation = await policy.generate(request)
        return generation, (await policy.status()).details["read_tokens"] - before

    first, tokens = await read(ask(prompt, 0, session="a", group="g", shared=30, max_tokens=9))
    assert tokens == 30
    _, tokens = await read(ask(prompt, 1, session="b", group="g", shared=30, max_tokens=9))
    assert tokens == 0, "the prefix is there, and so are the logits after it"
    _, tokens = await read(ask([*prompt, 5, 6], 2, session="c", group="g", shared=30, max_tokens=9))
    assert tokens == 2
    ids = [*prompt, *first.token_ids, 7, 8, 9]
    second, tokens = await read(ask(ids, 3, session="a", group="g", shared=30, max_tokens=9))
    assert tokens == 4, "three new ids, and the last that was sampled"
    ids = [*ids, *second.token_ids]
    rewritten = [*ids[:35], 0, 0, *ids[37:]]
    same = next(i for i in range(len(ids)) if i == len(ids) - 1 or ids[i] != rewritten[i])
    _, tokens = await read(ask(rewritten, 4, session="a", group="g", shared=30, max_tokens=9))
    assert tokens == len(rewritten) - same, "what comes after the first difference"
    _, tokens = await read(ask([1, *rewritten], 5, session="a", max_tokens=9))
    assert tokens == len(rewritten) + 1
    for session in "abc":
        await policy.end_session(session)
    details = (await policy.status()).details
    assert (details["prefixes"], details["kept_tokens"]) == (0, 0), "the prefix went with its last session"


async def test_a_short_request_does_not_wait_for_a_long_one(start: Start) -> None:
    policy = start(tiny_model())
    long = asyncio.create_task(policy.generate(ask([1, 2], 0, max_tokens=400)))
    while (await policy.status()).sampled_tokens < 5:
        await asyncio.sleep(0.001)
    for key in range(1, 6):
        await policy.generate(ask([3, key], key, max_tokens=3))
        assert not long.done()
    assert len((await long).token_ids) == 400


async def test_more_requests_than_rows_are_all_served_in_order(start: Start) -> None:
    model = tiny_model()
    policy = start(model, max_batch=4)
    finished: list[int] = []

    async def serve(key: int) -> None:
        generation = await policy.generate(ask([key], key, max_tokens=10))
        assert worst(model, [key], generation) < 1e-4
        finished.append(key)

    await asyncio.gather(*(serve(key) for key in range(18)))
    # four rows of equally long completions: they end four by four
    assert [sorted(finished[i : i + 4]) for i in range(0, 18, 4)] == [
        list(range(i, min(i + 4, 18))) for i in range(0, 18, 4)
    ]


async def test_memory_stays_within_its_bound(start: Start) -> None:
    bound = 300  # tokens
    policy = start(tiny_model(), limits=EngineLimits(kv_bytes=tokens_kept(bound)))

    async def serve(key: int) -> int:
        await policy.generate(ask([key] * 40, key, session=str(key), max_tokens=20))
        return int((await policy.status()).details["kept_tokens"])

    kept = await asyncio.gather(*(serve(key) for key in range(20)))
    assert max(kept) <= bound
    assert (await policy.status()).details["evictions"] >= 20 - bound // 59  # each session holds 59 tokens


async def test_a_second_request_of_a_busy_session_is_served_beside_the_first(start: Start) -> None:
    model = tiny_model()
    policy = start(model)
    both = [ask([4, 5, 6, key], key, session="one", group="g", shared=3, max_tokens=20) for key in range(2)]
    for request, generation in zip(both, await policy.generate_batch(both), strict=True):
        assert worst(model, list(request.prompt_ids), generation) < 1e-4
    await policy.end_session("one")
    assert (await policy.status()).details["kept_tokens"] == 0


async def test_conversations_of_an_old_version_are_computed_anew_where_it_is_asked_for(start: Start) -> None:
    policy = start(tiny_model(), limits=EngineLimits(renew_after=0))
    first = await policy.generate(ask([1, 2, 3], 0, session="a", max_tokens=4))
    sender = SharedMemorySender()
    new = tiny_model(seed=1)
    await policy.prepare_update(sender.send(new.named_parameters(), 1))
    await policy.finish_update(1)
    ids = [1, 2, 3, *first.token_ids, 9]
    assert worst(new, ids, await policy.generate(ask(ids, 1, session="a", max_tokens=4))) < 1e-4
    sender.close()


async def test_top_p_and_top_k_give_logprobs_of_what_is_left(start: Start) -> None:
    model = tiny_model()
    policy = start(model)
    ids = [5, 6, 7]
    p = plain_logprobs(model, ids)[-1].exp()
    order = p.argsort(descending=True)
    requests = [ask(ids, key, max_tokens=1, top_k=3) for key in range(200)]
    for generation in await policy.generate_batch(requests):
        (token,) = generation.token_ids
        assert token in order[:3]
        assert generation.logprobs[0] == pytest.approx((p[token] / p[order[:3]].sum()).log().item(), abs=1e-4)
    # the smallest set of likeliest tokens whose mass reaches 0.5
    count = int((p[order].cumsum(0) < 0.5).sum()) + 1
    for generation in await policy.generate_batch([ask(ids, key, max_tokens=1, top_p=0.5) for key in range(200)]):
        (token,) = generation.token_ids
        assert token in order[:count]
        assert generation.logprobs[0] == pytest.approx((p[token] / p[order[:count]].sum()).log().item(), abs=1e-4)


async def test_two_deterministic_engines_are_bit_equal(start: Start) -> None:
    model = tiny_model("qwen3")

    async def run(policy: TransformersPolicy, delays: random.Random) -> list[Generation]:
        draw, results = random.Random(1), []
        histories: list[list[int]] = [[7] * (12 + i % 3) for i in range(24)]
        for turn in range(3):
            requests = [
                ask(ids, 100 * turn + i, session=str(i), group="g", shared=12, max_tokens=draw.randrange(1, 60))
                for i, ids in enumerate(histories)
            ]
            generations = await policy.generate_batch(requests)
            results += generations
            for ids, generation in zip(histories, generations, strict=True):
                ids += [*generation.token_ids, 3]
            await asyncio.sleep(0.02 * delays.random())
            for i in range(turn, 24, 5):
                await policy.end_session(str(i))
        return results

    first, second = (start(model, deterministic=True) for _ in range(2))
    a, b = await asyncio.gather(run(first, random.Random(2)), run(second, random.Random(3)))
    assert a == b  # ids, versions and log-probabilities, to the last bit


async def test_a_deterministic_engine_does_one_call_after_another(start: Start) -> None:
    model = tiny_model()
    requests = [ask([1, 2, key], key, session=str(key), max_tokens=7 + key) for key in range(6)]
    one, other = (start(model, deterministic=True) for _ in range(2))
    together = await asyncio.gather(*(one.generate(request) for request in requests))
    alone = [await other.generate(request) for request in requests]
    assert together == alone


async def test_draws_do_not_depend_on_the_order_of_arrival(start: Start) -> None:
    model = tiny_model()
    prompt = list(range(20))
    requests = [ask(prompt, key, session=str(key), group="g", shared=20, max_tokens=25) for key in range(40)]
    shuffled = random.Random(0).sample(requests, len(requests))
    a = {r.key: g for r, g in zip(requests, await start(model).generate_batch(requests), strict=True)}
    policy = start(model, max_batch=7)
    found = await asyncio.gather(*(policy.generate(request) for request in shuffled))
    b = {r.key: g for r, g in zip(shuffled, found, strict=True)}
    for key, generation in a.items():
        assert generation.token_ids == b[key].token_ids
        assert generation.logprobs == pytest.approx(b[key].logprobs, abs=1e-4)


async def test_bfloat16_serves_with_small_differences(start: Start) -> None:
    model = tiny_model("qwen3")
    policy = start(model, precision="bfloat16")
    ids = list(range(25))
    requests = [ask(ids, key, session=str(key), group="g", shared=25, max_tokens=20) for key in range(8)]
    generations = await policy.generate_batch(requests)
    # bfloat16 has 8 bits: with logits of up to about 5 a log-probability is off by some hundredths
    assert 0 < max(worst(model, ids, generation) for generation in generations) < 0.3
    scores = await policy.score([*ids, *generations[0].token_ids])
    assert generations[0].logprobs == pytest.approx(scores[24:], abs=0.1)


async def test_requests_that_cannot_be_served_are_refused(start: Start) -> None:
    policy = start(tiny_model())
    for request, reason in [
        (ask([], 0), "prompt_ids is empty"),
        (ask([VOCABULARY], 0), "outside the vocabulary of 64"),
        (ask([1], 0, stop_token_ids=(64,)), "stop_token_ids holds an id outside"),
        (ask([1], 0, max_tokens=0), "max_tokens must be at least 1"),
        (ask([1] * 512, 0), "fills the model's context of 512"),
    ]:
        with pytest.raises(ValueError, match=reason):
            await policy.generate(request)
    with pytest.raises(ValueError, match="no ids to score"):
        await policy.score([])
    cut = await policy.generate(ask([1] * 500, 0, max_tokens=100))
    assert (len(cut.token_ids), cut.finish_reason) == (12, "length")  # 500 + 12 = 512, the context


async def test_weights_that_are_not_finite_fail_the_engine_with_the_reason(start: Start) -> None:
    policy = start(tiny_model())
    sender = SharedMemorySender()
    broken = {name: torch.full_like(p, float("nan")) for name, p in tiny_model().named_parameters()}
    await policy.prepare_update(sender.send(broken, 4))
    await policy.finish_update(4)
    with pytest.raises(PolicyError, match="the weights of version 4 give no finite log-probabilities"):
        await policy.generate(ask([1, 2], 0))
    with pytest.raises(PolicyError, match="the engine has failed"):
        await policy.status()
    sender.close()


async def test_updates_that_do_not_fit_are_refused(start: Start) -> None:
    policy = start(tiny_model())
    sender = SharedMemorySender()
    weights = dict(tiny_model().named_parameters())
    name, tensor = weights.popitem()
    with pytest.raises(PolicyError, match=f"lacks 1 of .* weights, such as {name!r}"):
        await policy.prepare_update(sender.send(weights, 1))
    with pytest.raises(PolicyError, match=f"{name!r} has shape"):
        await policy.prepare_update(sender.send({**weights, name: tensor.detach()[:-1]}, 1))
    await policy.generate(ask([1], 0, max_tokens=2))
    sender.close()


async def test_a_closed_engine_says_so(start: Start) -> None:
    policy = start(tiny_model())
    pending = asyncio.create_task(policy.generate(ask([1], 0, max_tokens=500)))
    while (await policy.status()).sampled_tokens < 5:
        await asyncio.sleep(0.001)
    await policy.close()
    with pytest.raises(PolicyError, match="the engine is closed"):
        await pending
    with pytest.raises(PolicyError, match="the engine is closed"):
        await policy.generate(ask([1], 0))


OTHERS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "granite": {"num_key_value_heads": 2, "logits_scaling": 3.0, "embedding_multiplier": 2.0},
    "qwen3_moe": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
}


@pytest.mark.parametrize("architecture", OTHERS)
async def test_other_architectures_are_served_through_the_attention_interface(start: Start, architecture: str) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    options = {"vocab_size": VOCABULARY, "max_position_embeddings": 128, **sizes, **OTHERS[architecture]}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, initializer_range=0.3, **options))
    model.eval()
    policy = start(model)
    prompt = list(range(20))
    requests = [ask([*prompt, k], k, session=str(k), group="g", shared=20, max_tokens=15) for k in range(6)]
    for request, first in zip(requests, await policy.generate_batch(requests), strict=True):
        ids = list(request.prompt_ids)
        assert worst(model, ids, first) < 1e-4
        ids += [*first.token_ids, 5]
        second = await policy.generate(ask(ids, 9, session=request.session, group="g", shared=20, max_tokens=9))
        assert worst(model, ids, second) < 1e-4


async def test_attention_in_windows_is_served_up_to_one_window(start: Start) -> None:
    model = tiny_model("qwen3", use_sliding_window=True, sliding_window=16, max_window_layers=0)
    policy = start(model)
    generation = await policy.generate(ask([1, 2, 3], 0))
    assert (len(generation.token_ids), generation.finish_reason) == (13, "length")  # 3 + 13 = 16
    assert worst(model, [1, 2, 3], generation) < 1e-4


def test_models_that_cannot_be_served_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.path: .*cannot be loaded"):
        TransformersPolicy(str(tmp_path / "nothing"))
    bloom = AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", vocab_size=64, hidden_size=32, n_layer=1))
    with pytest.raises(ConfigError, match=r"BloomForCausalLM .*attention"):
        TransformersPolicy(saved(tmp_path / "bloom", bloom))
