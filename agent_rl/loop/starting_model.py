"""`prepare_model`: the folder of the model that a run starts from, made once for every configuration and then cached.

A child process, `python -m agent_rl.loop.starting_model`, makes the model (new weights, SFT): this needs torch and all
cores, and the calling process has neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType

from agent_rl.config import RunConfig
from agent_rl.errors import AgentRLError, ConfigError, LearnerError
from agent_rl.launch.role_process import die_with_parent
from agent_rl.learner.model_folder import model_folder, written_atomically
from agent_rl.loop.demonstration_batches import Demonstrations, conversations
from agent_rl.records.disk_errors import full_disk
from agent_rl.registry import resolve
from agent_rl.rollouts.tools import describe
from agent_rl.sft.rank import how_many_ranks
from agent_rl.sft.rank_processes import Ranks
from agent_rl.sft.sft_plan import SftPlan

RECIPE = 2
"""Part of every cache key: raised when a change of the code makes another model from the same configuration."""
TOKENIZER_CONVERSATIONS = 2000
"""Number of demonstrations that a new tokenizer is trained on."""
CONFIG_ERROR = 2
OnChild = Callable[["subprocess.Popen[bytes]"], None]


def prepare_model(
    config: RunConfig,
    cache: Path,
    say: Callable[[str], None] = print,
    on_child: OnChild = lambda child: None,
) -> Path:
    """The folder of the starting model: `model.path` itself, or a folder below `cache`, made if it does not exist yet.

    `on_child` gets the process that makes the model, so that a caller in another thread can end it.

    Progress goes to standard output. Raises ConfigError for the user's mistakes (such as a `cache` that cannot be
    written) and LearnerError when making the model failed. Model folders below `cache` are always complete, even if a
    process is killed.
    """
    if config.model.path is not None and config.model.sft is None:
        return model_folder(config.model.path)
    folder = cache / f"model-{cache_key(config)}"
    with _locked(cache / f".{folder.name}.lock"):
        if folder.is_dir():
            say(f"starting model: {folder} (made before)")
            return folder
        for left_behind in cache.glob(f".{folder.name}-*"):  # from a killed process: only we hold the lock
            shutil.rmtree(left_behind)
        say(f"starting model: making {folder}")
        _in_child(config, folder, on_child)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """No other process makes the same model within the block; the kernel releases the lock if this process dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written: {error.strerror}", key="AGENT_RL_CACHE") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cache_key(config: RunConfig) -> str:
    """A hash (16 hex digits) of all that decides the starting model: its configuration and the environments' code."""
    model = {**config.model.model_dump(mode="json"), "seed": config.sft_seed}
    if config.model.path is not None:
        model["files"] = _files(model_folder(config.model.path))
    if config.model.chat_template is not None:
        model["chat_template"] = _read(Path(config.model.chat_template), "model.chat_template")
    environments = [
        {
            **entry.model_dump(mode="json", exclude={"minimum_mutation_score"}),
            "source": environment_source(entry.environment, f"environments.{index}"),
        }
        for index, entry in enumerate(config.environments)
    ]
    content = json.dumps({"recipe": RECIPE, "model": model, "environments": environments}, sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def environment_source(name: str, key: str) -> str:
    """A hash of the environment's code: the package or the single file that defines its class."""
    module = sys.modules[resolve(name, "agent_rl.environments", key=f"{key}.environment").__module__]
    digest = hashlib.blake2b(digest_size=8)
    for file in _source_files(module):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _source_files(module: ModuleType) -> list[Path]:
    if module.__file__ is None:
        return []
    file = Path(module.__file__)
    return sorted(file.parent.rglob("*.py")) if module.__package__ else [file]


def _files(folder: Path) -> list[list[str | int]]:
    """Name, size and modification time of every file of a model."""
    found = sorted(f for f in folder.iterdir() if f.is_file())
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in found]


def _read(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", key=key) from None


def _in_child(config: RunConfig, folder: Path, on_child: OnChild) -> None:
    """`folder` has been made by a child process, which ends with this one."""
    with tempfile.TemporaryDirectory(prefix="agent-rl-sft-") as scratch:
        request, failure = Path(scratch) / "request.json", Path(scratch) / "failure.txt"
        request.write_text(json.dumps({"config": config.model_dump(mode="json"), "folder": str(folder)}))
        command = [sys.executable, "-m", "agent_rl.loop.starting_model", str(request), str(failure), str(os.getpid())]
        # Every rank sets its own number of threads. Idle threads must sleep: spinning ones slow a busy machine down.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("MKL_NUM_THREADS", None)
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment["TOKENIZERS_PARALLELISM"] = "false"
        child = subprocess.Popen(command, env=environment)
        on_child(child)
        try:
            code = child.wait()
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise
        message = failure.read_text() if failure.exists() else f"it ended with code {code}"
    if code == CONFIG_ERROR:
        raise ConfigError(message)
    if code:
        raise LearnerError(f"the starting model could not be made: {message}")


def make_model_folder(config: RunConfig, folder: Path) -> None:
    """`folder` holds the starting model of `config`. Needs torch."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = config.model.sft
    with written_atomically(folder) as temporary:
        if settings is None:
            _write_start(config, temporary)
            return
        with (
            tempfile.TemporaryDirectory(prefix="agent-rl-start-") as start,
            Ranks(how_many_ranks(settings.batch_size)) as ranks,
        ):
            context = _write_start(config, Path(start))
            from agent_rl.sft.sft_display import showing
            from agent_rl.sft.train_model import train_model

            chosen = config.model
            source = Demonstrations(
                config.environments, Path(start), chosen.chat_template, context, chosen.template_variables
            )
            plan = SftPlan(Path(start), source, config.sft_seed, settings)
            with showing(settings.steps) as report:
                train_model(plan, temporary, report, ranks)


def _write_start(config: RunConfig, folder: Path) -> int:
    """`folder` holds the model before SFT; returns its context length in tokens."""
    if config.model.path is not None:
        for file in model_folder(config.model.path).iterdir():
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
    else:
        assert config.model.scratch is not None
        seed = config.sft_seed
        texts = list(_texts(config, seed))  # before the slow import, so that errors in them show at once
        from agent_rl.learner.scratch_model import write_scratch_model

        write_scratch_model(config.model.scratch, texts, folder, seed)
    from transformers import AutoConfig

    return int(getattr(AutoConfig.from_pretrained(folder), "max_position_embeddings", None) or 2**31)


def _texts(config: RunConfig, seed: int) -> Iterator[str]:
    """The texts that a new tokenizer is trained on: messages of demonstrations, from a seed that no training uses."""
    for messages, tools in islice(conversations(config.environments, -1 - seed), TOKENIZER_CONVERSATIONS):
        if tools:
            yield describe([tool.schema for tool in tools], "json")
        for message in messages:
            yield message.content


def main(arguments: list[str]) -> int:
    """The child process: makes the model of the request file. The exit code says whose fault a failure is."""
    request, failure, parent = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    die_with_parent(parent)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = json.loads(request.read_text())
    try:
        config = RunConfig.model_validate_json(json.dumps(asked["config"]))
        make_model_folder(config, Path(asked["folder"]))
    except AgentRLError as error:
        failure.write_text(str(error))
        return error.exit_code
    except OSError as error:
        full = full_disk(error)
        if full is None:
            raise
        failure.write_text(str(full))
        return full.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
