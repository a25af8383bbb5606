"""Installs a system call filter in the current process. `seccomp.run_filter`, outside, decides what it denies.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import os
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


class InstalledFilter:
    """A filter program, prepared in memory: installing it takes two system calls."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._buffer))
        self._prctl = ctypes.PyDLL(None, use_errno=True).prctl

    def install(self) -> None:
        """This process and all its children are under the program from now on, with no_new_privs. Raises OSError."""
        if (
            self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            or self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._header, 0, 0) != 0
        ):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "seccomp filter")
