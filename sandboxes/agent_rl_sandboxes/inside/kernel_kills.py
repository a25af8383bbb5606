"""What the kernel kills when memory runs out.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os


def prefer_this_process() -> None:
    """When memory runs out, the kernel kills this process and its children, not the server."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"1000")
    except OSError:
        return
    finally:
        os.close(descriptor)


def count() -> int:
    """How many processes the kernel has killed for lack of memory since its start; 0 if it does not say."""
    try:
        with open("/proc/vmstat") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
