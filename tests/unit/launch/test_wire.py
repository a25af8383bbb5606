"""What is sent between processes arrives equal, and in few bytes."""

from __future__ import annotations

import pickle
from dataclasses import KW_ONLY, dataclass, field

import pytest

from agent_rl.contracts import GenerateRequest, PackedGroup, SamplingParams, TrainingRow
from agent_rl.launch.role_messages import Call, Started, pickled


@dataclass(frozen=True, slots=True)
class One:
    value: object


@dataclass(frozen=True, slots=True)
class Two:
    a: int
    _: KW_ONLY
    b: int = 2


@dataclass(frozen=True, slots=True)
class Derived:
    a: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.a)


@dataclass
class Loose:
    a: int


ROW = TrainingRow((1, 2), (True, False), (-0.5, 0.0), (3, 0), (1.0, 0.0), 0.25)
REQUEST = GenerateRequest((1, 2, 3), SamplingParams(stop_token_ids=(2,)), key=(0, 1), session="s")


@pytest.mark.parametrize(
    "value", [One(1), One((One(2), Loose(3))), Two(1, b=5), Derived(4), Loose(1), Started(), PackedGroup((1,), [ROW])]
)
def test_values_arrive_equal(value: object) -> None:
    (message,) = pickle.loads(pickled([Call(7, "method", (value,), {"key": REQUEST})]))
    assert message == Call(7, "method", (value,), {"key": REQUEST})


def test_what_a_loose_object_was_given_later_arrives_too() -> None:
    loose = Loose(1)
    loose.__dict__["more"] = 2
    (message,) = pickle.loads(pickled([Call(1, "m", (loose,), {})]))
    assert message.args[0].__dict__ == {"a": 1, "more": 2}


def test_names_of_fields_are_not_sent() -> None:
    assert b"advantage" not in pickled([Call(1, "m", (ROW,), {})])


def test_an_object_that_cannot_be_pickled_says_so() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="pickle"):
        pickled([Call(1, "m", (lambda: None,), {})])
