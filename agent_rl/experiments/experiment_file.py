"""An experiment's file: which runs there are, what is measured, drawn and claimed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from agent_rl.config import Section, config_error
from agent_rl.config.reading import shipped_configs
from agent_rl.errors import ConfigError
from agent_rl.experiments.likelihood_config import LikelihoodConfig


class AxisVariant(Section):
    """One choice on an axis that changes several keys at once."""

    name: str
    overrides: tuple[str, ...] = ()
    """KEY=VALUE, as after `agent-rl train --set`."""


class GridAxis(Section):
    """One way in which runs differ: the values of one key, or named variants."""

    name: str
    key: str = ""
    values: tuple[JsonValue, ...] = ()
    variants: tuple[AxisVariant, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> GridAxis:
        if bool(self.variants) == bool(self.key and self.values):
            raise ValueError(f"axis {self.name}: give either key and values, or variants")
        return self

    @property
    def choices(self) -> list[AxisVariant]:
        """The variants; of values, each with its one override."""
        if self.variants:
            return list(self.variants)
        return [AxisVariant(name=str(value), overrides=(f"{self.key}={json.dumps(value)}",)) for value in self.values]


class RunGrid(Section):
    """Every combination of the choices of its axes is a run."""

    axes: tuple[GridAxis, ...] = Field(min_length=1)


class TrainingPart(Section):
    """Runs of the ordinary training loop."""

    config: str
    """A shipped config's name, or a path."""
    overrides: tuple[str, ...] = ()
    """KEY=VALUE, for all runs."""


class BestChoice(Section):
    """An axis of which only the best choice is shown, such as a learning rate that is swept for each method."""

    axis: str
    measure: str
    direction: Literal["highest", "lowest"] = "highest"


class FigureSpec(Section):
    """One figure. Its file is NAME.svg."""

    name: str
    title: str
    x: str
    """An axis, "k" (pass@k against k), or "step" (the runs' curves)."""
    y: str = ""
    """A measure; none if x is k."""
    transform: Literal["none", "minus_log"] = "none"
    lines: tuple[str, ...] = ()
    """The axes whose choices are lines of their own."""
    where: tuple[str, ...] = ()
    """AXIS=CHOICE: only these runs. Choices of one axis are alternatives."""
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"


class RatioCheck(Section):
    """A claim: the measure of some runs divided by that of others is within bounds."""

    what: str
    measure: str
    of: tuple[str, ...]
    """AXIS=CHOICE of the runs that the claim is about."""
    against: tuple[str, ...]
    at_least: float = float("-inf")
    at_most: float = float("inf")


class Experiment(Section):
    """A whole experiment: either [training] or [likelihood] says what a run is."""

    title: str
    training: TrainingPart | None = None
    likelihood: LikelihoodConfig | None = None
    grids: tuple[RunGrid, ...] = Field(min_length=1)
    average: str = "seed"
    """The axis over which measures are averaged."""
    best: BestChoice | None = None
    measures: tuple[str, ...] = Field(min_length=1)
    """The columns of the table, such as pass@1."""
    figures: tuple[FigureSpec, ...] = ()
    checks: tuple[RatioCheck, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if (self.training is None) == (self.likelihood is None):
            raise ValueError("give either [training] or [likelihood]")
        for figure in self.figures:
            named = {figure.x, *figure.lines} - {"k", "step"}
            if unknown := sorted(named - self.axis_names):
                raise ValueError(f"figure {figure.name}: there is no axis {unknown[0]}")
        return self

    @property
    def axis_names(self) -> set[str]:
        return {axis.name for grid in self.grids for axis in grid.axes}


def shipped_experiments() -> dict[str, Path]:
    """Name -> file of each experiment that comes with agent-rl."""
    folders = {file.parent / "experiments" for file in shipped_configs().values()}
    return {file.stem: file for folder in sorted(folders) for file in sorted(folder.glob("*.toml"))}


def load_experiment(name: str) -> Experiment:
    """The shipped experiment `name`, or the one in the file of this path. Raises ConfigError that names the key."""
    shipped = shipped_experiments()
    path = Path(name) if Path(name).is_file() else shipped.get(name)
    if path is None:
        raise ConfigError("there is no such experiment or file", key="NAME", value=name, valid=shipped)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {error}", key="NAME") from None
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise config_error(error, Experiment, str(path)) from None


def matches(labels: dict[str, str], where: Iterable[str]) -> bool:
    """Whether a run with `labels` is among those that `where` (AXIS=CHOICE) asks for; choices of an axis are
    alternatives.
    """
    wanted: dict[str, set[str]] = {}
    for text in where:
        axis, _, choice = text.partition("=")
        wanted.setdefault(axis, set()).add(choice)
    return all(labels.get(axis) in choices for axis, choices in wanted.items())
