"""What was there before is left alone by the collector, what comes is collected still; afterwards all is as it was."""

from __future__ import annotations

import gc
import weakref

from agent_rl.launch.garbage_collection import settled


class Node:
    """An object that refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_there_is_left_alone_until_the_block_ends() -> None:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    before = Node()
    seen = weakref.ref(before)
    with settled():
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold()[0] > thresholds[0]
        later = Node()
        seen_later = weakref.ref(later)
        del before, later
        gc.collect()
        assert seen() is not None
        assert seen_later() is None
    assert (gc.get_threshold(), gc.get_freeze_count()) == (thresholds, 0)
    gc.collect()
    assert seen() is None
