"""`agent_rl.__all__` is the public API: complete, documented, defined once, and loaded only when it is used."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections import defaultdict
from functools import cache
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

import agent_rl
import agent_rl.contracts
import agent_rl.errors
import agent_rl.vocabulary

ROOT = Path(__file__).parents[2]
SOURCES = [path for top in ("agent_rl", "envs", "sandboxes") for path in sorted((ROOT / top).rglob("*.py"))]

_NAMES = """
    AdvantageEstimator Agent AgentMaker AgentRLError Aggregation Algorithm AlgorithmPart AnswerComparison AnswerTests
    AssertTests Batch CallTests Case CheckFailed ConfigError Correction DroppedRollout EndlessTasks Environment
    EnvironmentConfig EnvironmentFailure Estimate EvalRow ExecResult FilesNotTaken GRPO GenerateRequest Generation
    Group GroupRunner InfrastructureError InvalidRows InvalidSubmission Isolation JudgeRunner Learner LearnerError
    Limits LossFigures LossPlan LossTokens MaxRL Message OnInvalid OptimizerStep PackedGroup PairRequest PairResult
    PartOptions Policy PolicyError PolicyLoss PolicyStatus Prompt PromptStyle ProviderOptions PytestTests RLOO
    RandomKey Regularizer Reinforce RewardPart RolloutEnded RolloutReward RunCall RunConfig RunRequest RunResult
    SamplingParams Sandbox SandboxConfig SandboxError SandboxProvider SandboxSpec SandboxStartError Sandboxes
    ScriptTests Segment SessionLost ShellScript StdioCase StdioTests StepReport StorageError Submission Task
    TaskVerifier TensorSpec TestResult Tests TestsPlaceError Tier Timings Tool ToolCall TrainingRow TrainingSample
    Trajectory Turn UnfinishedThinking Verdict Verifier WeightManifest bootstrap_mean call_feedback choose_provider
    empty_agent evaluate final_answer load_config make_algorithm oracle_agent parse_config pass_at_k prepare_all
    program_of read_tasks refuse_judging_keys resolve run_group run_rollout script_in take_files train
"""
PUBLIC = sorted(_NAMES.split())
"""Whoever adds or removes a public name says so here."""


class Definition(NamedTuple):
    """Where a name is defined at the top of a module, and the docstring there; of a value, the string below it."""

    place: str
    docstring: str


@cache
def definitions() -> dict[str, list[Definition]]:
    """Name -> the places that define it, in the library, the environments and the sandboxes."""
    found: dict[str, list[Definition]] = defaultdict(list)
    for path in SOURCES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in zip_longest(body, body[1:]):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names, docstring = [node.name], ast.get_docstring(node)
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                docstring = ast.get_docstring(ast.Module([after], [])) if after is not None else None
            else:
                continue
            for name in names:
                found[name].append(Definition(str(path.relative_to(ROOT)), docstring or ""))
    return found


def test_these_names_are_public() -> None:
    assert sorted(agent_rl.__all__) == PUBLIC
    assert set(agent_rl.__all__) <= set(dir(agent_rl))


def test_every_noun_contract_and_error_is_public() -> None:
    errors = [name for name, value in vars(agent_rl.errors).items() if inspect.isclass(value)]
    errors = [name for name in errors if issubclass(getattr(agent_rl.errors, name), BaseException)]
    assert {*agent_rl.vocabulary.__all__, *agent_rl.contracts.__all__, *errors} <= set(agent_rl.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_object_of_its_home(name: str) -> None:
    (home,) = [home for home in agent_rl._HOMES if name in agent_rl.public_names(home)]
    assert getattr(agent_rl, name) is getattr(import_module(home), name)


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    tree = ast.parse((ROOT / "agent_rl/__init__.py").read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {node.module: sorted(alias.name for alias in node.names) for node in checked.body}  # type: ignore[attr-defined]
    assert seen == {home: sorted(agent_rl.public_names(home)) for home in agent_rl._HOMES}


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'agent_rl' has no attribute 'Tusk'"):
        _ = agent_rl.Tusk


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in PUBLIC if not all(place.docstring for place in definitions()[name])] == []


def test_no_public_type_is_defined_twice() -> None:
    types = [name for name in PUBLIC if name[0].isupper()]
    places = {name: [definition.place for definition in definitions()[name]] for name in types}
    assert {name: where for name, where in places.items() if len(where) != 1} == {}


def test_nothing_is_loaded_before_it_is_used() -> None:
    program = "import json, sys, agent_rl; print(json.dumps([m for m in sys.modules if m.startswith('agent_rl')]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["agent_rl"]


def test_all_of_it_loads_no_torch() -> None:
    program = "from agent_rl import *; import json, sys; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"torch", "transformers", "vllm", "docker", "ray"}
