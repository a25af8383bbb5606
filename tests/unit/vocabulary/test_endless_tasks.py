"""Tasks without an end: made when they are asked for, in an order that needs no memory."""

from __future__ import annotations

from itertools import islice

import pytest

from agent_rl.loop.sampler import LoadedEnvironment, TaskSampler
from agent_rl.vocabulary import AnswerTests, EndlessTasks, Message, Task
from agent_rl.vocabulary.endless_tasks import some_of


def task(index: int) -> Task:
    return Task(str(index), (Message.user(str(index)),), AnswerTests(str(index)))


TASKS = EndlessTasks(task)


def test_an_index_decides_the_task() -> None:
    assert TASKS[7] == TASKS[7] == task(7)
    assert TASKS[-1] == task(2**32 - 1)
    assert [t.id for t in TASKS[3:5]] == ["3", "4"]
    assert [t.id for t in islice(TASKS, 2)] == ["0", "1"]
    with pytest.raises(IndexError):
        TASKS[2**32]


def test_an_order_comes_to_no_index_twice() -> None:
    for seed in range(5):
        order = [TASKS.shuffled(position, seed).id for position in range(20_000)]
        assert len(set(order)) == 20_000
        assert order[:3] == [TASKS.shuffled(position, seed).id for position in range(3)]
    # Modulo 2^32 an odd factor permutes: the last position is an index too, and it is none of the others.
    assert TASKS.shuffled(2**32 - 1, 4).id not in order


def test_seeds_have_different_orders() -> None:
    assert len({TASKS.shuffled(0, seed).id for seed in range(100)}) == 100


def test_the_sampler_goes_through_them_once() -> None:
    loaded = LoadedEnvironment("endless", None, TASKS)  # pyright: ignore[reportArgumentType]
    sampler = TaskSampler([loaded], seed=3)
    ids = [sampler.next().task.id for _ in range(500)]
    assert len(set(ids)) == 500
    assert ids == [TaskSampler([loaded], seed=3).at(i).task.id for i in range(500)]
    assert ids != [TaskSampler([loaded], seed=4).at(i).task.id for i in range(500)]


def test_some_stand_for_all() -> None:
    assert [t.id for t in some_of(TASKS, 3)] == ["0", "1", "2"]
    finite = [task(0), task(1)]
    assert some_of(finite, 1) is finite
