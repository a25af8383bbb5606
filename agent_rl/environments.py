"""Makes environments from a config: resolves classes, validates options, makes names unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from agent_rl.config import EnvironmentEntry, config_error
from agent_rl.contracts import Environment, Verifier
from agent_rl.errors import ConfigError
from agent_rl.registry import resolve


@dataclass(frozen=True, slots=True)
class NamedEnvironment:
    """An environment of the mix, its name in metrics, its weight, and the mutation score that its tasks need."""

    name: str
    environment: Environment
    weight: float
    minimum_mutation_score: float = 0.0


def make_environments(entries: Sequence[EnvironmentEntry], verifier: Verifier) -> list[NamedEnvironment]:
    """The environments of `entries`, in order.

    Raises ConfigError for a class that cannot be imported, a wrong option, or a name given twice.
    """
    made: list[NamedEnvironment] = []
    for index, entry in enumerate(entries):
        key = f"environments.{index}"
        cls = resolve(entry.environment, "agent_rl.environments", key=f"{key}.environment")
        if not (isinstance(cls, type) and issubclass(cls, Environment)):
            raise ConfigError(f"{entry.environment} is not an Environment", key=f"{key}.environment")
        try:
            options = cls.config_class.model_validate(entry.options)
        except ValidationError as error:
            raise config_error(error, cls.config_class, f"{key}.options") from None
        name = entry.name or entry.environment.rpartition(":")[2].lower()
        if any(other.name == name for other in made):
            raise ConfigError("this name is given twice: set `name` for each", key=f"{key}.name", value=name)
        made.append(NamedEnvironment(name, cls(options, verifier), entry.weight, entry.minimum_mutation_score))
    return made
