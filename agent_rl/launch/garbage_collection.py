"""Keeps Python's cyclic garbage collector from scanning all loaded objects again and again.

A run makes many small objects that live as long as a rollout. By default the collector scans the youngest objects after
every 700 new ones, and sometimes all objects. Most of these are tasks, tokenizers and libraries. In the quickstart this
took a quarter of the controller's processor time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (20_000, 10, 10)
"""New objects before the youngest generation is scanned; scans of each generation before the next older one's."""


def settle() -> None:
    """The collector no longer scans the objects that exist now, and scans new ones less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def settled() -> Iterator[None]:
    """The same as `settle`, until the block ends."""
    thresholds = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
