"""The starting model: demonstrations, cache, and the making in a child process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from agent_rl.config import EnvironmentEntry, RunConfig, SftConfig, parse_config
from agent_rl.errors import ConfigError, EnvironmentFailure, LearnerError
from agent_rl.learner.model_folder import written_atomically
from agent_rl.learner.scratch_model import write_scratch_model
from agent_rl.loop import starting_model
from agent_rl.loop.demonstration_batches import Demonstrations, conversations
from agent_rl.loop.starting_model import cache_key, prepare_model
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.sft.batches_ahead import BatchesAhead
from agent_rl.sft.rank import how_many_ranks
from agent_rl.sft.rank_processes import Ranks
from agent_rl.sft.sft_plan import SftPlan
from agent_rl.sft.sft_trainer import SftProgress, make_cosine_schedule
from agent_rl.sft.train_model import train_model

ENVIRONMENT = '''
import random
from agent_rl.contracts import Environment, EnvironmentConfig
from agent_rl.vocabulary import Message

class Config(EnvironmentConfig):
    letter: str = "a"
    fails: str = ""

class Toy(Environment):
    """What is to be said is the letter after the one that was given, four times."""
    config_class = Config

    async def load(self, split):
        return []

    async def rollout(self, task, agent, sandbox):
        raise AssertionError

    def demonstrations(self, seed):
        draw = random.Random(seed)
        if self.config.fails == "none":
            raise NotImplementedError("Toy has no demonstrations")
        while self.config.fails != "ended":
            if self.config.fails == "raises":
                raise KeyError("oops")
            if self.config.fails == "dies":
                import os
                os._exit(7)
            letter = draw.choice("xyz") if self.config.letter == "a" else self.config.letter
            after = chr(ord(letter) + 1)
            yield [Message.user(letter), Message.assistant(after * 4), Message.user("again"), Message.assistant(after)]
'''
MODEL = {"vocabulary": 300, "width": 32, "layers": 1, "heads": 2, "kv_heads": 2, "ffn_width": 48, "context": 64}
SFT = {"steps": 4, "batch_size": 8, "learning_rate": 0.01}


@pytest.fixture
def toy(tmp_path: Path) -> str:
    file = tmp_path / "toy_environment.py"
    file.write_text(ENVIRONMENT)
    return f"{file}:Toy"


def run_config(toy: str, *, options: dict[str, str] | None = None, **model: object) -> RunConfig:
    parts = {"scratch": MODEL, "sft": SFT, **model}
    environments = [{"environment": toy, "options": options or {}}]
    return parse_config({"environments": environments, "model": {k: v for k, v in parts.items() if v is not None}})


def source(toy: str, folder: Path, *, context: int = 64, **options: str) -> Demonstrations:
    entry = EnvironmentEntry.model_validate({"environment": toy, "options": options})
    folder.mkdir(exist_ok=True)
    write_scratch_model(run_config(toy).model.scratch, ["xyz again"] * 9, folder, 0)  # type: ignore[arg-type]
    return Demonstrations((entry,), folder, None, context=context)


def test_a_batch_learns_what_the_assistant_says_after_shared_prompts(toy: str, tmp_path: Path) -> None:
    given = source(toy, tmp_path / "model", letter="p")
    tokenizer = ChatTokenizer.load(given.model_folder)
    (group,) = next(given.batches(5, 3))  # all three conversations begin alike
    assert tokenizer.decode_all(group.prefix_ids) == "<|bos|><|user|>p<|end|><|assistant|>"
    assert len(group.rows) == 3
    row = group.rows[0]
    assert tokenizer.decode_all(row.token_ids) == "qqqq<|end|><|user|>again<|end|><|assistant|>q<|end|>"
    learned = [i for i, mask in zip(row.token_ids, row.loss_mask, strict=True) if mask]
    assert tokenizer.decode_all(learned) == "qqqq<|end|>q<|end|>"
    assert row.scale == 1.0


def test_the_mix_follows_the_weights_and_the_seed(toy: str) -> None:
    entries = [
        EnvironmentEntry(environment=toy, name="p", weight=3, options={"letter": "p"}),
        EnvironmentEntry(environment=toy, name="q", options={"letter": "q"}),
    ]
    first = [c.messages[0].content for c in islice(conversations(entries, 1), 400)]
    assert first == [c.messages[0].content for c in islice(conversations(entries, 1), 400)]
    assert first != [c.messages[0].content for c in islice(conversations(entries, 2), 400)]
    # 400 draws at 3 : 1 give 300 with a standard deviation of sqrt(400 * .75 * .25) = 8.7: four of them are 35.
    assert abs(first.count("p") - 300) < 35


@pytest.mark.parametrize(
    ("fails", "error", "message"),
    [
        ("none", ConfigError, r"model\.sft: a model cannot be made or fine-tuned here: Toy has no demonstr"),
        ("raises", EnvironmentFailure, "toy: demonstrations raised KeyError: 'oops'"),
        ("ended", EnvironmentFailure, "toy: demonstrations ended, but they must be endless"),
    ],
)
def test_failing_demonstrations_name_the_environment(
    toy: str, fails: str, error: type[Exception], message: str
) -> None:
    entry = EnvironmentEntry(environment=toy, options={"fails": fails})
    with pytest.raises(error, match=message):
        next(conversations([entry], 0))


def test_conversations_that_never_fit_are_refused(toy: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1000 demonstrations in a row are longer than the context of 5 tokens"):
        next(source(toy, tmp_path / "model", context=5).batches(5, 2))


def test_batches_made_ahead_are_the_same(toy: str, tmp_path: Path) -> None:
    given = source(toy, tmp_path / "model")
    with BatchesAhead(given, 5, 4) as ahead:
        assert [ahead.next() for _ in range(3)] == list(islice(given.batches(5, 4), 3))


@pytest.mark.parametrize(
    ("fails", "message"), [("raises", "KeyError: 'oops'"), ("dies", "makes demonstrations ended with code 7")]
)
def test_a_failure_of_what_works_ahead_arrives(toy: str, tmp_path: Path, fails: str, message: str) -> None:
    given = source(toy, tmp_path / "model", fails=fails)
    with BatchesAhead(given, 5, 4) as ahead, pytest.raises(EnvironmentFailure, match=message):
        ahead.next()


def test_imitation_lowers_the_loss(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    given = source(toy, tmp_path / "model")
    seen: list[SftProgress] = []
    out = tmp_path / "out"
    settings = SftConfig.model_validate({**SFT, "steps": 40})
    with Ranks(1) as ranks:
        train_model(SftPlan(given.model_folder, given, 5, settings), out, seen.append, ranks)
    assert [p.step for p in seen] == list(range(1, 41))
    # At first every token is about as likely as any other of the vocabulary, at most 300 of them.
    assert seen[0].loss > 3
    assert seen[-1].loss < 1
    assert seen[-1].tokens > 40 * 8 * 10
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = ChatTokenizer.load(out)
    prompt = tokenizer.encode("<|bos|><|user|>x<|end|><|assistant|>")
    with torch.no_grad():
        best = model(torch.tensor([prompt])).logits[0, -1].argmax().item()
    assert tokenizer.decode([best]).startswith("y")


@pytest.mark.parametrize(("steps", "rise"), [(1, 1), (4, 1), (35, 3), (600, 50)])
def test_learning_rates_rise_and_then_fall_along_a_cosine_bit_for_bit(steps: int, rise: int) -> None:
    optimizer = torch.optim.AdamW(torch.nn.Linear(1, 1).parameters(), lr=3e-3)
    schedule = make_cosine_schedule(optimizer, steps)
    rates: list[float] = []
    for _ in range(steps):
        rates += [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        schedule.step()
    # 0.05 of the full rate is left at the end.
    falling = [(step - rise) / max(1, steps - rise) for step in range(rise, steps)]
    shares = [(step + 1) / rise for step in range(rise)]
    shares += [0.05 + (1 - 0.05) * 0.5 * (1 + math.cos(math.pi * done)) for done in falling]
    assert rates == [3e-3 * share for share in shares]


def test_ranks_share_the_batch_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, batch, expected in (
        (1, 64, 1),
        (2, 64, 2),
        (3, 64, 2),
        (16, 64, 8),
        (8, 10, 2),
        (4, 7, 1),
        (None, 8, 1),
    ):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert how_many_ranks(batch) == expected


def test_a_folder_is_taken_as_it_is(toy: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    config = run_config(toy, scratch=None, sft=None, path=str(tmp_path / "model"))
    assert prepare_model(config, tmp_path / "cache") == tmp_path / "model"
    assert not (tmp_path / "cache").exists()
    config = run_config(toy, scratch=None, sft=None, path=str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=r"model\.path: there is no folder"):
        prepare_model(config, tmp_path / "cache")


def test_the_key_depends_on_all_that_decides_the_model(toy: str, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    base = run_config(toy)
    keys = [
        cache_key(base),
        cache_key(run_config(toy, scratch={**MODEL, "layers": 2})),
        cache_key(run_config(toy, sft={**SFT, "seed": 1})),
        cache_key(run_config(toy, sft=None)),
        cache_key(run_config(toy, options={"letter": "b"})),
        cache_key(run_config(toy, chat_template=str(template))),
    ]
    template.write_text("{{ messages }}!")
    keys.append(cache_key(run_config(toy, chat_template=str(template))))
    file = Path(toy.removesuffix(":Toy"))
    file.write_text(file.read_text() + "\n# changed\n")
    keys.append(cache_key(base))
    assert len(set(keys)) == len(keys)
    # What plays no part in it changes nothing.
    assert cache_key(base.model_copy(update={"deterministic": True})) == keys[-1]
    # The run's seed is the model's too, unless SFT has one of its own.
    assert cache_key(base.model_copy(update={"seed": 9})) != keys[-1]


def test_a_folder_is_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "folder"

    def write(text: str, *, fail: bool = False) -> None:
        with written_atomically(target) as folder:
            (folder / "file").write_text(text)
            if fail:
                raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write("half", fail=True)
    assert list(target.parent.iterdir()) == []
    for text in ("one", "two"):
        write(text)
        assert (target / "file").read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_a_model_is_made_once(toy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config, cache = run_config(toy), tmp_path / "cache"
    said: list[str] = []
    folder = prepare_model(config, cache, said.append)
    assert folder == cache / f"model-{cache_key(config)}"
    assert said == [f"starting model: making {folder}"]
    assert "SFT: step 4/4, loss" in capfd.readouterr().out
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= {
        f.name for f in folder.iterdir()
    }
    assert ChatTokenizer.load(folder).stop_token_ids
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 1
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert prepare_model(config, cache, said.append) == folder
    assert said[1:] == [f"starting model: {folder} (made before)"]
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert [f for f in cache.iterdir() if f.is_dir()] == [folder]


def test_a_model_at_hand_can_be_sft_trained(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    given = source(toy, tmp_path / "model").model_folder
    config = run_config(toy, scratch=None, path=str(given))
    key = cache_key(config)
    starting_model.make_model_folder(config, tmp_path / "made")
    before, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (given, tmp_path / "made"))
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before if "proj" in name)
    assert not any(f.is_symlink() for f in (tmp_path / "made").iterdir())
    assert (tmp_path / "made" / "tokenizer.json").read_bytes() == (given / "tokenizer.json").read_bytes()
    (given / "config.json").write_text((given / "config.json").read_text() + " ")
    assert cache_key(config) != key


@pytest.mark.slow
def test_errors_of_the_child_are_raised_here(toy: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Toy has no demonstrations"):
        prepare_model(run_config(toy, options={"fails": "none"}), tmp_path / "cache", lambda text: None)
    with pytest.raises(LearnerError, match="could not be made: toy: demonstrations raised KeyError"):
        prepare_model(run_config(toy, options={"fails": "raises"}), tmp_path / "cache", lambda text: None)
    assert [f for f in (tmp_path / "cache").iterdir() if f.is_dir()] == []


@pytest.mark.slow
def test_a_maker_that_is_killed_leaves_no_half_model(toy: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    config = run_config(toy, sft={**SFT, "steps": 100_000})
    program = (
        "import sys; from pathlib import Path; from agent_rl.config import RunConfig;"
        "from agent_rl.loop.starting_model import prepare_model;"
        "prepare_model(RunConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program, config.model_dump_json(exclude_none=True), str(cache)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(maker.wait)
        stack.callback(maker.kill)
        (half,) = _wait_for(lambda: list(cache.glob(f".model-{cache_key(config)}-*")))
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    assert list(cache.glob("model-*")) == []
    assert half.is_dir()
    # The next one to make it (here it fails at once) clears up what was left.
    broken = run_config(toy, sft={**SFT, "steps": 100_000}, scratch={**MODEL, "width": 33})
    (cache / f".model-{cache_key(broken)}-left").mkdir()
    with pytest.raises(ConfigError, match="width 33 must be a multiple of heads 2"):
        prepare_model(broken, cache, lambda text: None)
    assert list(cache.glob(f".model-{cache_key(broken)}-*")) == []


def _wait_for(find: Callable[[], list[Path]]) -> list[Path]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_preparing_needs_no_torch(toy: str, tmp_path: Path) -> None:
    program = (
        "import sys, agent_rl.loop.starting_model; print([m for m in sys.modules if m in ('torch', 'transformers')])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
