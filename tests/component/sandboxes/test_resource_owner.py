"""Only an owner that is certainly gone counts as dead."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from agent_rl_sandboxes.resource_owner import Owner


def test_a_living_owner_survives_its_label() -> None:
    owner = Owner.current()
    assert Owner.parse(owner.label()) == owner
    assert not owner.provably_dead()
    assert Owner.current().lease != owner.lease


def test_an_ended_process_is_dead_also_as_a_zombie() -> None:
    code = "from agent_rl_sandboxes.resource_owner import Owner; print(Owner.current().label(), flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    assert child.stdin is not None
    owner = Owner.parse(child.stdout.readline())
    assert owner is not None
    assert owner.pid == child.pid
    assert not owner.provably_dead()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    assert owner.provably_dead()
    child.communicate()
    assert owner.provably_dead()


def test_what_cannot_be_known_is_not_dead() -> None:
    me = Owner.current()
    assert not dataclasses.replace(me, host="elsewhere", pid=2**22 + 1).provably_dead()
    assert not dataclasses.replace(me, namespace="pid:[1]", pid=2**22 + 1).provably_dead()
    assert dataclasses.replace(me, boot="earlier").provably_dead()
    assert dataclasses.replace(me, started="1").provably_dead()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"pid":1}', '{"host":1,"boot":"","namespace":"","pid":"1"}'])
def test_another_ones_label_is_no_owner(text: str) -> None:
    assert Owner.parse(text) is None
