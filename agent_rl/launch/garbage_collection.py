"""Python's collector of cyclic garbage, kept from going over everything that was loaded again and again.

A run makes many small objects that live as long as a rollout. By default the collector looks at the youngest after
every 700 of them, and now and then at all that there is, of which tasks, tokenizers and libraries are by far the most:
a quarter of the controller's processor time in the quickstart.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (20_000, 10, 10)
"""New objects before the youngest are looked at; how many such times before the older, and the oldest."""


def settle() -> None:
    """What exists now is left alone by the collector from now on, and of what comes it collects less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def settled() -> Iterator[None]:
    """As `settle`, until the block ends."""
    thresholds = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
