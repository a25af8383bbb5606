"""Thousands of verifications, one in ten hostile, in one process: every verdict right, and nothing is left of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest

from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE
from agent_rl_sandboxes.resource_owner import LABEL, Owner
from tests.component.places import PLACES
from tests.component.sandboxes.inventory import Inventory

ROOT = Path(__file__).resolve().parents[3]
MAX_GROWTH = 20 * 10**6
"""Bytes of resident memory between a tenth of the verifications and the last."""
COUNTS = [
    pytest.param(2_000, marks=pytest.mark.slow),
    pytest.param(20_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)]),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_left_of_many_verifications(place: str, count: int) -> None:
    command = [sys.executable, "-m", "tests.system.endurance.endure", place, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=_environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    endured = json.loads(done.stdout)
    assert endured["wrong"] == []
    assert endured["excluded"] == []
    assert endured["added"] == {}
    assert sum(endured["statuses"].values()) == count <= endured["runs"]
    assert endured["hostile"] == count // 10
    # Half of the nine in ten that are honest are right; of the hostile ones, a few are as good as right.
    assert count * 0.40 <= endured["statuses"]["passed"] <= count * 0.50
    assert {"failed", "timeout", "crashed", "tampered"} <= endured["statuses"].keys()
    after_a_tenth, at_the_end = endured["resident"]
    assert at_the_end - after_a_tenth < MAX_GROWTH, endured["resident"]
    print(f"{place}: {count} in {endured['seconds']:.0f} s, {(at_the_end - after_a_tenth) / 1e6:+.1f} MB")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


# What would be left is seen


def test_a_process_a_descriptor_and_a_thread_that_are_left_are_seen() -> None:
    before = Inventory.take(docker=False)
    stop = threading.Event()
    with ExitStack() as stack:
        thread = threading.Thread(target=stop.wait)
        stack.callback(thread.join)
        stack.callback(stop.set)
        child = stack.enter_context(subprocess.Popen(["sleep", "60"]))
        stack.callback(child.kill)
        thread.start()
        stack.enter_context(Path(os.devnull).open())
        added = Inventory.take(docker=False).added_since(before)
        assert added["processes"] == [f"{child.pid} sleep"]
        assert added["descriptors"] == [os.devnull]
        assert len(added["threads"]) == 1
    assert Inventory.take(docker=False).added_since(before) == {}


@contextmanager
def _left_over(api: docker.APIClient) -> Iterator[dict[str, str]]:
    """A container of this process and a volume, by kind."""
    volume = api.create_volume(labels={LABEL: "test"})["Name"]
    host = api.create_host_config(network_mode="none")
    labels = {LABEL: Owner.current().label()}
    created = api.create_container(DEFAULT_IMAGE, entrypoint=["sleep"], command=["60"], labels=labels, host_config=host)
    try:
        api.start(created["Id"])
        yield {"containers": created["Id"], "volumes": volume}
    finally:
        api.remove_container(created["Id"], force=True)
        api.remove_volume(volume)


@pytest.mark.docker
@pytest.mark.slow
async def test_what_is_left_in_docker_is_seen() -> None:
    before = await asyncio.to_thread(Inventory.take, docker=True)
    api = client(Endpoint.find())
    try:
        with _left_over(api) as left:
            added = (await asyncio.to_thread(Inventory.take, docker=True)).added_since(before)
            assert {kind: added[kind] for kind in left} == {kind: [name] for kind, name in left.items()}
    finally:
        api.close()
