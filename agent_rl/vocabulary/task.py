"""A `Task`: one problem, how it is prompted and how it is judged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_rl.vocabulary.canonical import Record
from agent_rl.vocabulary.runs import Limits, SandboxSpec

MessageRole = Literal["system", "user", "assistant", "tool"]
Tier = Literal["values", "proxied", "in_process"]
"""How a verdict is reached, the strongest first: see the documentation's page on what a verdict is worth."""
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
    """One recorded call: `args` and `kwargs` go in, `expected` is what the judge compares with.

    Values are plain Python values that the canonical form holds (`agent_rl.vocabulary.canonical`).
    """

    args: tuple[Any, ...]
    expected: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


Comparison = Literal["python", "json", "exact", "float", "tokens", "any_order", "checker"]
"""How returned and expected values are compared, always outside the candidate's process.

python: Python's == on plain values (1 == 1.0 == True, a list is no tuple) | json: the same, for expected values that
were kept as JSON: a tuple is a list, a dict's keys are strings | exact: also the same types | float: numbers within
`tolerance`, absolute or relative | tokens: strings split at whitespace | any_order: equal as multisets | checker: a
program, itself untrusted and run in a sandbox of its own, sees inputs and outputs.
"""


@dataclass(frozen=True, slots=True)
class CallTests:
    """Tests by function calls: the submission defines `entry_point`, each case calls it once (tier 1)."""

    entry_point: str
    cases: tuple[Case, ...]
    comparison: Comparison = "python"
    tolerance: float = 1e-6
    checker: str = ""
    """For `comparison = "checker"`: source of a module whose `check(candidate)` raises unless it is satisfied;
    `candidate` replays the recorded outputs for the recorded arguments."""
    isolated: bool = False
    """Each case has a run of its own; otherwise all are answered, in random order, by one process."""


@dataclass(frozen=True, slots=True)
class StdioCase:
    """One execution of a program: what it can read, and what it is to print (text stands for its UTF-8)."""

    stdin: str | bytes
    expected: str | bytes


OutputComparison = Literal["tokens", "exact", "float", "any_order", "checker"]
"""How a program's output is compared, always outside its process.

tokens: split at whitespace | exact: byte for byte | float: by tokens, numbers within `tolerance`, absolute or
relative | any_order: by lines, each by its tokens, in any order | checker: a program, itself untrusted and run in a
sandbox of its own, sees input, output and the expected output.
"""


@dataclass(frozen=True, slots=True)
class StdioTests:
    """Tests of a whole program by its standard input and output (tier 1); it has to end with exit code 0."""

    cases: tuple[StdioCase, ...]
    comparison: OutputComparison = "tokens"
    tolerance: float = 1e-6
    checker: str = ""
    """For `comparison = "checker"`: source of a module whose `check(stdin, stdout, expected)` returns True for a good
    output (each a str, or bytes where it is no UTF-8)."""
    isolated: bool = False
    """Each case has a run of its own; otherwise one process executes the program once per case, in random order."""


@dataclass(frozen=True, slots=True)
class PytestTests:
    """Tests as pytest files, for tier `proxied` (functions and simple classes of `module`) or `in_process`."""

    files: Mapping[str, bytes]
    """Path relative to the working directory -> content; staged after the agent has stopped."""
    tests: tuple[str, ...] = ()
    """Exact node ids, each of which has to pass; `Verifier.prepare` fills them in with the reference."""
    module: str = "solution"
    """The name under which the tests import a submission of kind `code`."""
    oracle: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The files of a solution, with which `prepare` finds out which tests there are."""


@dataclass(frozen=True, slots=True)
class ScriptTests:
    """Tests as a script that is run beside the submission (tier `in_process`)."""

    files: Mapping[str, bytes]
    """Path relative to the working directory -> content; staged after the agent has stopped."""
    command: tuple[str, ...] = ("/bin/sh", "tests/test.sh")
    """Its program is an absolute path. Exit code 0 passes, unless `reward_file` says otherwise."""
    reward_file: str = ""
    """Where it is set: a file, in the working directory or absolute, with a number from 0 to 1, of which 1 passes."""
    artifacts: tuple[str, ...] = ()
    """Paths of files and folders that an agent's work is taken from; empty: all of the working directory."""


@dataclass(frozen=True, slots=True)
class AssertTests:
    """Tests as code, in the HumanEval form: `source` defines `check(candidate)`.

    They are turned into `CallTests` once, at load, by running them with the reference in a sandbox
    (`Verifier.prepare`). A task that still carries them cannot be judged.
    """

    entry_point: str
    source: str
    oracle: str
    """A complete program that defines `entry_point`."""


@dataclass(frozen=True, slots=True)
class AnswerTests:
    """Tests of a final answer: it is compared with `answer`, as a number or an expression, and nothing is run."""

    answer: str


Tests = CallTests | StdioTests | AssertTests | PytestTests | ScriptTests | AnswerTests
"""Every kind of tests that a task can have; one verifier judges them all."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem; immutable, with a content hash. Its tier is fixed by its tests, never by a submission."""

    id: str
    prompt: tuple[Message, ...]
    tests: Tests
    public: Tests | None = None
    """Tests whose outcome the agent may see (`Verifier.run_public_tests`)."""
    oracle: str | None = None
    """A reply that solves the task, as the model would write it; never sent where an agent can read."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files that the agent starts with: path relative to the sandbox's working directory -> content."""
    limits: Limits = field(default_factory=Limits)
    """Limits of one judging run."""
    split: Split = "train"
    sandbox: SandboxSpec | None = None
    """Where the agent works; None where its episodes need no place of their own."""
    tier: Tier = "values"
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def hash(self) -> str:
        """Content hash, 16 hex digits: equal for equal tasks in every process and on every machine."""
        return hashlib.blake2b(json.dumps(_plain(self), sort_keys=True).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """`value` as something that JSON writes in one way only (types kept apart)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return [[_plain(k), _plain(v)] for k, v in sorted(value.items(), key=lambda kv: repr(kv[0]))]  # pyright: ignore
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(repr(v) for v in value)]  # pyright: ignore
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(_plain(v) for v in value)]  # pyright: ignore
    if isinstance(value, Record):
        return ["record", value.name, _plain(value.fields)]
    if isinstance(value, (bytes, float, complex)):
        return [type(value).__name__, repr(value)]
    return value
