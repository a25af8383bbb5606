"""The first step in a run's process: waits for the request, which says how to run the program.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

from typing import NoReturn

from agent_rl_sandboxes.inside import case_processes, namespaces, program_calls


def run_program(isolation: str) -> NoReturn:
    """In a run's process: waits for a program, and runs it, alone or for its cases. Raises OSError."""
    request = program_calls.read_request()
    limits = request["limits"]
    # A single case may be answered by the process that has loaded the program, and has the time of both.
    cpu = limits["cpu"] * (2 if request.get("calls") == 1 else 1)
    namespaces.limit(cpu, limits["memory"], limits["processes"], limits["disk"], 256)
    if "role" in request:
        from agent_rl_sandboxes.inside import proxied_roles  # the server was told to load it before the fork

        proxied_roles.take_part(request, program_calls.REQUEST, program_calls.RESULTS, program_calls.MEMORY_EXIT)
    if not request["calls"]:
        program_calls.execute(request, program_calls.RESULTS)
    cases = case_processes.CaseProcesses(isolation)
    run = cases.programs if request["entry_point"] is None else cases.functions
    program_calls.execute(request, program_calls.RESULTS, run)
