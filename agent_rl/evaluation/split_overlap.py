"""Held-out tasks that are also trained on: an evaluation on them says nothing about new tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from agent_rl.vocabulary import Task


def overlap_note(training: Sequence[Task], held_out: Sequence[Task], split: str) -> str:
    """What a person should be told of held-out tasks that are also trained on; "" if there are none.

    Two tasks are one if everything but their ids and splits is equal.
    """
    known = {_content(task) for task in training}
    shared = sum(_content(task) in known for task in held_out)
    if not shared:
        return ""
    which = f"all {shared}" if shared == len(held_out) else f"{shared} of the {len(held_out)}"
    return f"{which} held-out tasks (split {split!r}) are also trained on: pass@k on them says nothing about new tasks"


def _content(task: Task) -> str:
    return dataclasses.replace(task, id="", split="").hash
