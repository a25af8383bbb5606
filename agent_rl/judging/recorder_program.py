"""The program that records a test body's calls: the data set's check, with a recorder around the oracle solution.

It runs in a sandbox, and returns (calls, whether a value has an equality of its own, whether arguments are looked at).
"""

from __future__ import annotations

from importlib.resources import files

from agent_rl.joined_programs import joined
from agent_rl.vocabulary import AssertTests

ENTRY_POINT = "__agent_rl_record__"
REFUSED = "__agent_rl_not_recordable__: "
"""How the error begins if the check passed but a value that it used could not be recorded."""
_RECORDER = """

__agent_rl_reference__ = {entry_point}


class __agent_rl_not_recordable__(Exception):
    pass


class __agent_rl_check_failed__(Exception):
    pass


def __agent_rl_record__():
    import copy
    import random
    import time
    from agent_rl.vocabulary.canonical import NotCanonical, encode
    from agent_rl.vocabulary.held_values import equal_as_built_in, failure_of

    reference = __agent_rl_reference__
    calls = []
    refused = []
    unlike = []
    begun = random.getstate()
    started = time.monotonic()

    def copied(value):
        try:
            return copy.deepcopy(value)
        except Exception as error:
            refused.append(f"a value cannot be copied: {{type(error).__name__}}: {{error}}"[:500])
            return None

    def candidate(*args, **kwargs):
        kept = copied([args, kwargs]) or ((), {{}})
        try:
            encode(kept)  # a program may look at all of an argument: it is passed as it is, or not at all
        except NotCanonical as error:
            refused.append(f"no canonical value: {{error}}")
        state = random.getstate()  # the replay draws the test's random inputs again, without the oracle's draws
        try:
            value = reference(*args, **kwargs)
        except Exception as error:
            calls.append((*kept, failure_of(error), None))
            raise
        finally:
            random.setstate(state)
        if not equal_as_built_in(value):
            unlike.append(1)
        calls.append((*kept, None, copied(value)))
        return value

    def passes(emptying):
        # The same again, once with arguments that are left as they are and once with what no test may look at.
        left = [10 * len(calls) + 100]

        def called(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("more calls than there were")
            state = random.getstate()
            try:
                value = copy.deepcopy(reference(*args, **kwargs))
            finally:
                random.setstate(state)
            for argument in (*args, *kwargs.values()) if emptying else ():
                if type(argument) in (list, dict, set, bytearray):
                    argument.clear()
            return value

        random.setstate(begun)
        try:
            check(called)
        except Exception:
            return False
        return True

    try:
        check(candidate)
    except Exception as error:
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == candidate.__code__.co_filename:
                line = trace.tb_lineno
            trace = trace.tb_next
        random.setstate(begun)
        try:
            check(reference)
        except Exception:
            pass
        else:
            why = "they look at the function itself, such as at its name or signature"
            raise __agent_rl_not_recordable__(why) from None
        said = f"{{type(error).__name__}}: {{error}}".strip().rstrip(":")
        raise __agent_rl_check_failed__(f"{{line}} {{said}}"[:1000]) from None
    if refused:
        raise __agent_rl_not_recordable__(refused[0])
    short = time.monotonic() - started < {most_seconds}
    return calls, bool(unlike), short and passes(False) and not passes(True)
"""
_PYTEST = """
def __agent_rl_pytest__():
    import sys
    import types

    if "pytest" not in sys.modules:
        made = types.ModuleType("pytest_subset")
        exec(compile({source!r}, "pytest.py", "exec", dont_inherit=True), made.__dict__)
        sys.modules["pytest"] = made.module()

__agent_rl_pytest__()
"""


def recorder_of(tests: AssertTests, most_seconds: float) -> str:
    """The program, whose function `ENTRY_POINT` records. Tests that take longer than `most_seconds` run only once."""
    return f"{checker_of(tests)}\n{_RECORDER.format(entry_point=tests.entry_point, most_seconds=most_seconds)}"


def checker_of(tests: AssertTests) -> str:
    """A module that defines `check`, with the oracle's definitions, and with `pytest_subset` if it imports pytest."""
    return joined(tests.oracle, pytest_for(tests.source), tests.source)


def pytest_for(source: str) -> str:
    """Code that makes `import pytest` in `source` work in any image; empty if `source` does not import pytest.

    It defines `pytest_subset`, as tests of tier `proxied` use it, and so saves each run the import of all of pytest.
    """
    if "import pytest" not in source and "from pytest" not in source:
        return ""
    return _PYTEST.format(source=files("agent_rl.judging.proxied").joinpath("pytest_subset.py").read_text())
