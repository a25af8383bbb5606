"""The runs of an experiment: every combination of its axes, each with its settings."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from agent_rl.algorithms import with_defaults
from agent_rl.config import RunConfig, config_error, load_config, with_overrides
from agent_rl.errors import ConfigError
from agent_rl.experiments.experiment_file import Experiment, RunGrid, matches
from agent_rl.experiments.likelihood_config import LikelihoodConfig


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run: its choice on each axis, and all of its settings."""

    labels: dict[str, str]
    config: RunConfig | LikelihoodConfig

    @property
    def name(self) -> str:
        """A folder's name, such as `algorithm=maxrl,N=16,seed=0`."""
        return ",".join(f"{axis}={re.sub(r'[^A-Za-z0-9_.+-]', '_', choice)}" for axis, choice in self.labels.items())

    @property
    def digest(self) -> str:
        """A hash (16 hex digits) of the settings: a result of other settings is none of this run."""
        settings = json.dumps(self.config.model_dump(mode="json"), sort_keys=True)
        return hashlib.blake2b(settings.encode(), digest_size=8).hexdigest()


def planned_runs(experiment: Experiment, only: Sequence[str] = (), overrides: Sequence[str] = ()) -> list[PlannedRun]:
    """The runs in the order of the file, those that `only` (AXIS=CHOICE) asks for; `overrides` (KEY=VALUE) come last.

    A run of the training loop is evaluated only at its end; the first of all of them also before, which is the start
    that they share. Raises ConfigError for a mistake in the file, in `only` or in `overrides`.
    """
    labelled = [pair for grid in experiment.grids for pair in _combinations(grid)]
    _check_only(labelled, only)
    runs: list[PlannedRun] = []
    for labels, changes in labelled:
        config = _config(experiment, [*changes, *overrides], first=not runs)
        runs.append(PlannedRun(labels, config))
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two runs are named {twice}", key="grids")
    return [run for run in runs if matches(run.labels, only)]


def _combinations(grid: RunGrid) -> Iterator[tuple[dict[str, str], list[str]]]:
    """(axis -> choice, overrides) of each run of the grid."""
    for choices in itertools.product(*(axis.choices for axis in grid.axes)):
        labels = {axis.name: choice.name for axis, choice in zip(grid.axes, choices, strict=True)}
        yield labels, [override for choice in choices for override in choice.overrides]


def _config(experiment: Experiment, overrides: Sequence[str], *, first: bool) -> RunConfig | LikelihoodConfig:
    if experiment.training is not None:
        before = f"evaluation.before={'true' if first else 'false'}"
        return with_defaults(
            load_config(experiment.training.config, [*experiment.training.overrides, before, *overrides])
        )
    assert experiment.likelihood is not None
    data = with_overrides(experiment.likelihood.model_dump(), overrides)
    try:
        return LikelihoodConfig.model_validate(data)
    except ValidationError as error:
        raise config_error(error, LikelihoodConfig, "the experiment") from None


def _check_only(labelled: Sequence[tuple[dict[str, str], list[str]]], only: Sequence[str]) -> None:
    """Raises ConfigError for an axis or a choice that no run has."""
    known = sorted({f"{axis}={choice}" for labels, _ in labelled for axis, choice in labels.items()})
    for text in only:
        if text not in known:
            raise ConfigError("no run is AXIS=CHOICE of this", key="--only", value=text, valid=known)
