"""The arithmetic of the benches: percentiles, rates, ratios, ideals and bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_rl.bench import generate_bench
from agent_rl.bench.bench_requests import CompletionTimes, completion_tokens, make_requests
from agent_rl.bench.controller_bench import ControllerCost, ControllerPlan, ControllerReport, DialogueShape
from agent_rl.bench.figures import percentile
from agent_rl.bench.fixed_time_parts import log_normal
from agent_rl.bench.generate_bench import EngineFigures, GeneratePlan, GenerateReport
from agent_rl.bench.quickstart_bench import OverlapPlan, QuickstartReport, StepTimes, modes, step_times
from agent_rl.bench.scheduling_bench import Achieved, Scenario
from agent_rl.bench.turns_bench import TurnsPlan, TurnsReport, TurnTimes, marks
from agent_rl.records.eval_row import Estimate


def test_a_percentile_lies_between_its_neighbours_in_proportion() -> None:
    # Sorted 10, 20, 30, 40: the median stands at position 1.5, the 95th percentile at 2.85.
    values = [40.0, 10.0, 30.0, 20.0]
    assert percentile(values, 0.5) == 25.0
    assert percentile(values, 0.95) == pytest.approx(38.5)
    assert percentile(values, 0.0) == 10.0
    assert percentile(values, 1.0) == 40.0
    assert percentile([7.0], 0.95) == 7.0
    with pytest.raises(ValueError, match="of 0 values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match=r"no percentile 1\.1"):
        percentile([1.0], 1.1)


def test_requests_have_the_lengths_that_were_asked_for_and_are_always_the_same() -> None:
    requests = make_requests(200, range(10, 20), prompts=(3, 5), completions=(2, 4))
    assert {len(r.prompt_ids) for r in requests} == {3, 4, 5}
    assert {r.sampling.max_tokens for r in requests} == {2, 3, 4}
    assert {i for r in requests for i in r.prompt_ids} == set(range(10, 20))
    assert all(r.sampling.stop_token_ids == () and r.sampling.temperature == 1.0 for r in requests)
    assert len({r.key for r in requests}) == len({r.session for r in requests}) == 200
    assert requests == make_requests(200, range(10, 20), prompts=(3, 5), completions=(2, 4))
    assert completion_tokens(requests) == sum(r.sampling.max_tokens for r in requests)


def test_only_requested_tokens_count_and_the_fastest_round_is_told() -> None:
    # 100 tokens in 4 s are 25 a second; in 2 s they are 50, with a median latency of 1.5 s.
    slow, fast = CompletionTimes((1.0, 4.0), 100), CompletionTimes((1.0, 2.0), 100)
    figures = EngineFigures.best([slow, fast])
    assert figures.to_json() == {"tokens_per_second": 50.0, "p50_ms": 1500.0, "p95_ms": 1950.0}


def test_a_padded_batch_far_below_the_best_is_measured_only_once() -> None:
    # Tokens per second: 100 / 1, 100 / 1.4 = 71, 100 / 1.5 = 67; the engine's own 10 does not matter.
    seconds = {"padded 16": 1.0, "padded 64": 1.4, "padded 256": 1.5, "transformers": 10.0}
    outcomes = {name: [CompletionTimes((taken,), 100)] for name, taken in seconds.items()}
    assert [name for name in seconds if generate_bench._hopeless(name, outcomes)] == ["padded 256"]


def test_ratios_are_over_the_padded_engine_and_say_nothing_without_it() -> None:
    def report(**engines: float) -> GenerateReport:
        return GenerateReport("cpu", "m", GeneratePlan(), {n: EngineFigures(t, 1.0, 2.0) for n, t in engines.items()})

    assert report(padded=100.0, transformers=199.0).ratios == {"transformers": 1.99}
    assert report(padded=100.0, transformers=199.0).reached is False
    assert report(padded=100.0, transformers=200.0, vllm=900.0).reached is True
    assert report(transformers=200.0).ratios == {}
    assert report(transformers=200.0).reached is None
    assert report(padded=100.0).reached is None


def test_the_ideal_step_is_the_longer_of_the_two_roles() -> None:
    # A step of 1.25 s where the learner needs 1 s and the rollouts .9 s: 1 / 1.25.
    figures = {"step": 1.25, "waiting": 0.2, "overhead": 0.05, "straggler_wait": 0.0, "event_loop_lag": 0.0}
    learner_bound = Achieved(learner_bound=1.0, rollout_bound=0.9, **figures)
    assert learner_bound.efficiency == 0.8
    rollout_bound = Achieved(learner_bound=0.5, rollout_bound=1.0, **figures)
    assert rollout_bound.efficiency == 0.8
    assert rollout_bound.to_json()["ideal_seconds"] == 1.0


def test_a_balanced_step_takes_as_long_as_its_rollouts_in_all_places() -> None:
    # 4 groups of 6 rollouts of 2 s each in 8 places: 48 s / 8.
    scenario = Scenario(sigma=0.5, bar=0.9, groups_per_batch=4, group_size=6, places=8, mean=2.0)
    assert scenario.learner_seconds == 6.0


def test_episode_times_have_the_mean_that_was_set_and_depend_on_the_key_alone() -> None:
    drawn = [log_normal(2.0, 0.5, (0, i, 0, 0)) for i in range(4000)]
    # The coefficient of variation is sqrt(exp(.25) - 1) = .533: a standard error of 2 * .533 / sqrt(4000) = .017.
    assert sum(drawn) / 4000 == pytest.approx(2.0, abs=4 * 0.017)
    assert log_normal(2.0, 0.5, (0, 7, 0, 0)) == drawn[7]


def _quickstart(
    sync_all: float, sync_share: tuple[float, float, float], asynchronous: float, low: float = 0.4, cores: float = 1.0
) -> QuickstartReport:
    times = {
        "sync all": StepTimes(sync_all, 1.0, 1.0, cores),
        "sync share": StepTimes(*sync_share, cores),
        "async": StepTimes(asynchronous, 0.0, 1.0, cores),
    }
    passed = {name: Estimate(0.5, 0.45, 0.55) for name in ("sync all", "sync share")}
    passed["async"] = Estimate(0.5, low, low + 0.04)
    return QuickstartReport(OverlapPlan(Path("c.toml")), modes(2), times, passed)


def test_speedup_is_over_the_faster_synchronous_mode_and_the_bound_over_the_slower_role() -> None:
    # The faster synchronous step takes 3 s (all cores); alone, rollouts take 2.0 s and learning 1.5 s: bound 3 / 2.
    report = _quickstart(3.0, (3.6, 2.0, 1.5), 2.5, low=0.44)
    assert report.sync.name == "sync all"
    assert report.bound == 1.5
    assert report.speedup == 1.2
    assert not report.reached, "1.2 is below .85 * 1.5 = 1.275"
    assert _quickstart(3.0, (3.6, 2.0, 1.5), 2.3, low=0.44).reached
    assert _quickstart(4.0, (3.0, 2.0, 1.5), 2.3, low=0.44).sync.name == "sync share"


def test_what_the_cores_allow_is_told_besides() -> None:
    # 5 core-seconds of work in a step on 2 cores: 2.5 s, more than the 2.0 of the slower role.
    report = _quickstart(3.0, (3.6, 2.0, 1.5), 2.6, low=0.44, cores=2.5)
    assert report.core_bound == pytest.approx(3.0 / 2.5)
    assert report.bound == 1.5
    assert not report.reached, "3 / 2.6 = 1.15 is below .85 * 1.5, whatever the cores allow"


def test_a_fast_run_that_learns_less_does_not_reach_the_bar() -> None:
    # Intervals [.45, .55] and [.40, .44] have no point in common; [.42, .46] has some.
    assert not _quickstart(3.0, (3.6, 2.0, 1.5), 2.0, low=0.40).reached
    assert _quickstart(3.0, (3.6, 2.0, 1.5), 2.0, low=0.42).reached


def test_each_role_has_half_of_the_cores_at_least_one() -> None:
    assert [(m.max_staleness, m.threads) for m in modes(1)] == [(0, (1, 1)), (0, (1, 1)), (1, (1, 1))]
    assert [m.threads for m in modes(8)] == [(8, 8), (4, 4), (4, 4)]
    assert "loop.max_staleness=1" in modes(2)[2].overrides()


def test_step_times_come_from_the_files_of_a_run(tmp_path: Path) -> None:
    # Five steps that end at 10, 12, 15, 18 and 30; after 2 of warm-up and without the last, (18 - 12) / 2 = 3 each.
    timeline = [
        row
        for step, end in enumerate((10.0, 12.0, 15.0, 18.0, 30.0), start=1)
        for row in (
            {"step": step, "role": "rollouts", "start": 0.0, "end": end},
            {"step": step, "role": "publish", "start": 0.0, "end": end},
        )
    ]
    metrics = [
        {
            "step": step,
            "timings": {"waiting": float(step), "learner": 1.0, "publishing": 0.25, "busy_core_seconds": 2.0 * step},
        }
        for step in range(1, 6)
    ]
    for name, rows in (("timeline", timeline), ("metrics", metrics)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Steps 3 and 4 waited 3 and 4 seconds, and took 6 and 8 core-seconds: 3 and 4 of each of 2 cores.
    assert step_times(tmp_path, warm_up=2, cores=2) == StepTimes(period=3.0, rollouts=3.5, learning=1.25, cores=3.5)


def test_a_turn_is_told_as_the_median_of_those_before_it() -> None:
    assert marks(128) == [16, 32, 64, 128]
    assert marks(20) == [16, 20]
    # Turn i takes i ms to prepare: the median of turns 9 to 16 is 12.5, that of 13 to 20 is 16.5.
    turns = tuple(TurnTimes(i / 1000, 1.0, 10 * i) for i in range(1, 21))
    report = TurnsReport("cpu", "m", TurnsPlan(), turns)
    assert {n: round(1000 * t.preparing, 6) for n, t in report.at().items()} == {16: 12.5, 20: 16.5}
    assert report.share == pytest.approx(0.0105)
    assert report.reached
    assert report.to_json()["at"]["20"]["request_tokens"] == 200


def test_the_controllers_cost_is_told_for_each_process_and_by_how_much_it_grows() -> None:
    # 1,000 tokens for 1 s of the controller and 0.5 s of the policy's process; at 64 turns for twice as much.
    short = ControllerCost(1000, 500, rollouts=0.75, packing=0.05, recording=0.2, policy=0.5)
    long = ControllerCost(1000, 500, rollouts=1.5, packing=0.1, recording=0.4, policy=1.0)
    assert short.tokens_per_second == pytest.approx(1000 / 1.5)
    assert (short.of_controller, short.of_policy, short.slowest) == (1000.0, 2000.0, 1000.0)
    alone = ControllerCost(1000, 500, rollouts=0.75, packing=0.05, recording=0.2, policy=0.0)
    assert (alone.of_policy, alone.slowest) == (None, 1000.0)
    plan = ControllerPlan({"turns_16": DialogueShape(16, 4, 4), "turns_64": DialogueShape(64, 4, 4)})
    rounds = {"turns_16": [short], "turns_64": [long]}
    report = ControllerReport("cpu", plan, {"in_process": rounds, "role": rounds, "vllm": rounds})
    assert report.growth("role") == pytest.approx(2.0)
    assert report.reached is False
    assert ControllerReport("cpu", plan, {"role": rounds}).reached is None
    assert report.to_json()["policies"]["vllm"]["turns_16"]["of_policy_process"] == 2000
    fast = ControllerCost(1_000_000, 0, 1.0, 0.1, 0.4, 0.5)
    dearer = ControllerCost(1_000_000, 0, 1.6, 0.1, 0.4, 0.5)  # 2.6 s after 2: 1.3 times as much
    same, grown = ([fast] * 3, [fast] * 3), ([fast] * 3, [fast, dearer, dearer])
    for (at_16, at_64), reached in ((same, True), (grown, False)):
        every = {kind: {"turns_16": at_16, "turns_64": at_64} for kind in report.rounds}
        assert ControllerReport("cpu", plan, every).reached is reached
    assert ControllerReport("cpu", plan, {"vllm": {"turns_64": [dearer, fast]}}).cost("vllm", "turns_64") is fast
