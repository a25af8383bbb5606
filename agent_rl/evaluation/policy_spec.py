"""What `--policy SPEC` means: a run, a checkpoint, a model, or a fixed reply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_rl.errors import ConfigError
from agent_rl.learner.model_folder import model_folder
from agent_rl.records.run_directory import RunDirectory

FixedReply = Literal["gold", "empty"]
FIXED: tuple[FixedReply, ...] = ("gold", "empty")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model folder in the Hugging Face format, and its version of a run's policy (0 if it is not from a run)."""

    folder: Path
    version: int


def resolve_policy(spec: str) -> FixedReply | ModelSource:
    """The policy that `spec` names: `gold`, `empty`, a run's folder (its latest checkpoint), a checkpoint, a model
    folder, or a hub name.

    Raises ConfigError for a URL, for a folder that holds none of these, and for a name that cannot be downloaded.
    """
    for reply in FIXED:
        if spec == reply:
            return reply
    if re.match(r"https?://", spec):
        raise ConfigError("a policy behind a URL cannot be evaluated by this version", key="--policy", value=spec)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return _from_folder(folder)
    if folder.exists() or not _HUB_NAME.fullmatch(spec):
        raise ConfigError(f"{spec} is neither a folder nor the name of a model on the hub", key="--policy")
    return ModelSource(_download(spec), 0)


def _from_folder(folder: Path) -> ModelSource:
    if (folder / "config.json").is_file():
        return ModelSource(folder, _version(folder))
    run = RunDirectory(folder)
    if run.holds_a_run() and (own := run.complete_checkpoints()):
        _, latest = own[-1]
        return ModelSource(latest, _version(latest))
    raise ConfigError(
        f"{folder} holds neither a model (config.json) nor a run that has written a checkpoint", key="--policy"
    )


def _version(folder: Path) -> int:
    """The policy version in a checkpoint's own record; 0 for a model that is not a checkpoint."""
    try:
        return int(json.loads((folder / "trainer.json").read_text())["version"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / 'trainer.json'} is damaged: {error}", key="--policy") from None


def _download(name: str) -> Path:
    try:
        return model_folder(name)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("model.path: ").splitlines()[0], key="--policy") from None
