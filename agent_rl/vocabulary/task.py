"""A `Task`: one problem, how it is prompted and how it is judged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_rl.vocabulary.canonical import encode
from agent_rl.vocabulary.runs import Limits, SandboxSpec

MessageRole = Literal["system", "user", "assistant", "tool"]
Tier = Literal["values", "proxied", "in_process"]
"""How a verdict is reached, the strongest tier first: see the documentation's page on what a verdict is worth."""
Split = str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool as the model wrote it: `arguments` is the decoded JSON object."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, in the terms that chat templates use."""

    role: MessageRole
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @staticmethod
    def system(content: str) -> Message:
        return Message("system", content)

    @staticmethod
    def user(content: str) -> Message:
        return Message("user", content)

    @staticmethod
    def assistant(content: str) -> Message:
        return Message("assistant", content)


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded call: its arguments, and the `expected` value that the judge compares the result with.

    Values are plain Python values that have a canonical form (`agent_rl.vocabulary.canonical`).
    """

    args: tuple[Any, ...]
    expected: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


Comparison = Literal["python", "json", "exact", "float", "tokens", "any_order", "checker"]
"""How returned and expected values are compared, always outside the candidate's process.

python: Python's == on plain values (1 == 1.0 == True, a list does not equal a tuple) | json: the same, for expected
values that were stored as JSON: a tuple equals a list, a dict's keys are strings | exact: the types must be equal too |
float: numbers within `tolerance`, absolute or relative; an expected integer only absolute | tokens: strings split at
whitespace | any_order: equal as multisets | checker: a program compares inputs and outputs. It is untrusted and runs in
a sandbox of its own.
"""


@dataclass(frozen=True, slots=True)
class CallTests:
    """Tests by function calls: the submission defines `entry_point`, each case calls it once (tier 1)."""

    entry_point: str
    """A function, or else a method of `class Solution`, which is called on a new object each time."""
    cases: tuple[Case, ...]
    comparison: Comparison = "python"
    tolerance: float = 1e-6
    checker: str = ""
    """For `comparison = "checker"`: source of a module whose `check(candidate)` raises if an output is wrong.
    `candidate` replays the recorded outputs for the recorded arguments."""
    isolated: bool = False
    """Whether each case has a run of its own, which loads the program anew. Otherwise cases, in random order, share a
    run as far as none of them can see what another has left behind."""
    owner: str = ""
    """The class whose method `entry_point` first of all is: what starter code asks for."""
    from_json: bool = False
    """Whether the expected values were written as JSON: `float` and `any_order` then also take a tuple for a list, and
    other keys for their strings."""

    @property
    def called(self) -> str:
        """What a run calls: "f", or "Solution.f"."""
        return f"{self.owner}.{self.entry_point}" if self.owner else self.entry_point


@dataclass(frozen=True, slots=True)
class StdioCase:
    """One execution of a program: its standard input, and the expected output. A str stands for its UTF-8 bytes."""

    stdin: str | bytes
    expected: str | bytes


OutputComparison = Literal["tokens", "exact", "float", "any_order", "checker"]
"""How a program's output is compared, always outside its process.

tokens: split at whitespace | exact: byte for byte | float: as tokens, numbers within `tolerance`, absolute or
relative, but integers exactly | any_order: lines in any order, each compared as tokens | checker: a program compares
input, output and expected output. It is untrusted and runs in a sandbox of its own.
"""


@dataclass(frozen=True, slots=True)
class StdioTests:
    """Tests of a whole program by its standard input and output (tier 1). The program must end with exit code 0."""

    cases: tuple[StdioCase, ...]
    comparison: OutputComparison = "tokens"
    tolerance: float = 1e-6
    checker: str = ""
    """For `comparison = "checker"`: source of a module whose `check(stdin, stdout, expected)` returns True for a good
    output. Each argument is a str, or bytes if it is not UTF-8."""
    isolated: bool = False
    """Whether each case has a run of its own. Otherwise cases, in random order, share a run; each has a process."""


@dataclass(frozen=True, slots=True)
class PytestTests:
    """Tests as pytest files, for tier `proxied` (functions and simple classes of `module`) or `in_process`."""

    files: Mapping[str, bytes]
    """Path relative to the working directory -> content; staged after the agent has stopped."""
    tests: tuple[str, ...] = ()
    """Exact node ids; all of them must pass. `Verifier.prepare` finds them by running the oracle solution."""
    module: str = "solution"
    """The name under which the tests import a submission of kind `code`."""
    oracle: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The files of the oracle solution. `prepare` runs the tests on it to find their node ids."""


@dataclass(frozen=True, slots=True)
class ScriptTests:
    """Tests as a script that runs in the same sandbox as the submission (tier `in_process`)."""

    files: Mapping[str, bytes]
    """Path relative to the working directory -> content; staged after the agent has stopped."""
    command: tuple[str, ...] = ("/bin/sh", "tests/test.sh")
    """The command that runs the tests; its program is an absolute path. Exit code 0 passes, unless `reward_file` is
    set."""
    reward_file: str = ""
    """A file that the script writes a number from 0 to 1 to; 1 passes. Its path is absolute or relative to the working
    directory. Empty: the exit code decides."""
    artifacts: tuple[str, ...] = ()
    """Paths of the files and folders that are taken from the agent's sandbox; empty: the whole working directory."""


@dataclass(frozen=True, slots=True)
class AssertTests:
    """Tests as code, in the HumanEval form: `source` defines `check(candidate)`.

    `Verifier.prepare` converts them to `CallTests` once, at load, by running them with the oracle solution in a
    sandbox. A task that still has `AssertTests` cannot be judged.
    """

    entry_point: str
    source: str
    oracle: str
    """A complete program that defines `entry_point`."""


@dataclass(frozen=True, slots=True)
class AnswerTests:
    """Tests of a final answer. It is compared with `answer`, as a number or an expression; nothing is run."""

    answer: str


Tests = CallTests | StdioTests | AssertTests | PytestTests | ScriptTests | AnswerTests
"""Every kind of tests that a task can have; one verifier judges all kinds."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem; immutable, with a content hash. Its tier is fixed by its tests, never by a submission."""

    id: str
    prompt: tuple[Message, ...]
    tests: Tests
    public: Tests | None = None
    """Tests whose outcome the agent may see (`Verifier.run_public_tests`)."""
    oracle: str | None = None
    """The oracle solution: a reply that solves the task, as the model would write it. It is never sent to a place that
    the agent can read."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files that the agent starts with: path relative to the sandbox's working directory -> content."""
    limits: Limits = field(default_factory=Limits)
    """Those of each case; if the tests have no cases, those of the whole."""
    """Limits of one judging run."""
    split: Split = "train"
    sandbox: SandboxSpec | None = None
    """The sandbox that the agent works in; None if its episodes need no sandbox."""
    tier: Tier = "values"
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def hash(self) -> str:
        """Content hash, 16 hex digits: equal for equal tasks in every process and on every machine."""
        return hashlib.blake2b(json.dumps(_plain(self), sort_keys=True).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """`value` as data that JSON writes in exactly one way; values of different types stay different."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return [[_plain(k), _plain(v)] for k, v in sorted(value.items(), key=lambda kv: repr(kv[0]))]  # pyright: ignore
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(repr(v) for v in value)]  # pyright: ignore
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(_plain(v) for v in value)]  # pyright: ignore
    if isinstance(value, (bytes, float, complex)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, int) and value.bit_length() > 64:
        return ["int", hex(value)]  # Python refuses to write long ones in decimal
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return [type(value).__name__, encode(value)]
