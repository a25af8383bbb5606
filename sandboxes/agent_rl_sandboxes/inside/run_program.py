"""The first step in a run's process: waits for the request, which says how to run the program.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

from typing import NoReturn

from agent_rl_sandboxes.inside import case_processes, namespaces, program_calls, program_files

_ROOM_BYTES = 64 << 30
"""Address space beyond a run's memory, for what is reserved and never used: 64 stacks of 1 GiB. The memory itself is
limited by `run_usage`; without any limit on address space, the tables of its pages would need memory that is not."""
_OTHER_PROCESSES = 4
"""Processes that the program has not started: its first one, and the server's where it is the same user."""


def run_program(isolation: str) -> NoReturn:
    """In a run's process: waits for a program, and runs it, alone or for its cases. Raises OSError."""
    request = program_calls.read_request()
    limits = request["limits"]
    # A single case may be answered by the process that has loaded the program, and has the time of both.
    cpu = limits["cpu"] * (2 if request.get("calls") == 1 else 1)
    processes = limits["processes"] + _OTHER_PROCESSES
    own_users = isolation == "namespaces"
    namespaces.limit(cpu, limits["memory"] + _ROOM_BYTES, processes, limits["disk"], 256, own_users=own_users)
    if "program" in request:
        request["file"] = program_files.path_of(request.get("module", "solution"))
    cases = case_processes.CaseProcesses(isolation)
    if "role" not in request and request["calls"] and request["entry_point"] is not None:
        # It finds out first whether the program needs any preparation.
        program_calls.execute(request, program_calls.RESULTS, cases.functions)
    case_processes.prepare(request)
    if "role" in request:
        from agent_rl_sandboxes.inside import proxied_roles  # the server was told to load it before the fork

        proxied_roles.take_part(request, program_calls.REQUEST, program_calls.RESULTS, program_calls.MEMORY_EXIT)
    program_calls.execute(request, program_calls.RESULTS, cases.programs if request["calls"] else None)
