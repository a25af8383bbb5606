"""agent-rl: train coding agents with reinforcement learning, on verdicts that cannot be forged.

    TaskSampler.next ──> run_group ──> Environment.rollout <──> Policy.generate    messages <-> tokens in one place
                            │               └──> Submission ──> Verifier.judge ──> Verdict
                            v
                          Group ──> GroupBuffer ──> Algorithm.assign ──> pack ──> Learner.step ──> publish
                                        ^                                                             │
                                        └──────── capacity and staleness ──── Policy(version + 1) <───┘

The names are those of the code. One loop (`agent_rl.loop.train`) serves both modes: synchronous training is
`max_staleness = 0`.

`__all__` is the public API: what an author of environments, sandboxes, algorithms or scripts needs. Everything else is
free to change. Fakes and conformance suites for your own tests are in `agent_rl.testing`.

A name is loaded when it is first used. So importing this package takes almost no time, and does not load torch,
transformers, vLLM, Docker or Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_rl.algorithms import Algorithm, make_algorithm
    from agent_rl.algorithms.advantages import GRPO, RLOO, MaxRL, Reinforce
    from agent_rl.config import RunConfig, SandboxConfig, load_config, parse_config
    from agent_rl.contracts import (
        AdvantageEstimator,
        Agent,
        Aggregation,
        AlgorithmPart,
        Batch,
        Correction,
        Environment,
        EnvironmentConfig,
        GenerateRequest,
        Generation,
        InvalidSubmission,
        JudgeRunner,
        Learner,
        LossFigures,
        LossPlan,
        LossTokens,
        OptimizerStep,
        PackedGroup,
        PartOptions,
        Policy,
        PolicyLoss,
        PolicyStatus,
        Prompt,
        ProviderOptions,
        RandomKey,
        Regularizer,
        RewardPart,
        RolloutEnded,
        RolloutReward,
        SamplingParams,
        Sandbox,
        Sandboxes,
        SandboxProvider,
        SessionLost,
        StepReport,
        TensorSpec,
        Tool,
        TrainingRow,
        TrainingSample,
        Verifier,
        WeightManifest,
    )
    from agent_rl.errors import (
        AgentRLError,
        CheckFailed,
        ConfigError,
        EnvironmentFailure,
        FilesNotTaken,
        InfrastructureError,
        LearnerError,
        PolicyError,
        SandboxError,
        SandboxStartError,
        StorageError,
        TestsPlaceError,
    )
    from agent_rl.evaluation.evaluate import GroupRunner, evaluate
    from agent_rl.evaluation.pass_at_k import pass_at_k
    from agent_rl.formats import (
        InvalidRows,
        OnInvalid,
        PromptStyle,
        ShellScript,
        UnfinishedThinking,
        prepare_all,
        program_of,
        read_tasks,
        refuse_judging_keys,
        script_in,
    )
    from agent_rl.judging import AnswerComparison, TaskVerifier, take_files
    from agent_rl.loop.train import train
    from agent_rl.providers import choose_provider
    from agent_rl.records.bootstrap import bootstrap_mean
    from agent_rl.records.eval_row import Estimate, EvalRow
    from agent_rl.registry import resolve
    from agent_rl.rollouts.run_group import AgentMaker, empty_agent, oracle_agent, run_group, run_rollout
    from agent_rl.vocabulary import (
        AnswerTests,
        AssertTests,
        CallTests,
        Case,
        DroppedRollout,
        EndlessTasks,
        ExecResult,
        Group,
        Isolation,
        Limits,
        Message,
        PairRequest,
        PairResult,
        PytestTests,
        RunCall,
        RunRequest,
        RunResult,
        SandboxSpec,
        ScriptTests,
        Segment,
        StdioCase,
        StdioTests,
        Submission,
        Task,
        TestResult,
        Tests,
        Timings,
        ToolCall,
        Trajectory,
        Turn,
        Verdict,
    )
    from agent_rl.vocabulary.final_answer import final_answer
    from agent_rl.vocabulary.task import Tier
    from agent_rl.vocabulary.wording import call_feedback

__version__ = "0.1.0"

_HOMES = {
    "agent_rl.vocabulary": (
        "Task EndlessTasks Message ToolCall Limits SandboxSpec Tests CallTests Case StdioTests StdioCase AssertTests "
        "PytestTests ScriptTests AnswerTests Submission Verdict TestResult Isolation Trajectory Segment Turn "
        "Timings Group DroppedRollout ExecResult RunRequest RunCall RunResult PairRequest PairResult"
    ),
    "agent_rl.vocabulary.task": "Tier",
    "agent_rl.vocabulary.final_answer": "final_answer",
    "agent_rl.vocabulary.wording": "call_feedback",
    "agent_rl.contracts": (
        "Environment EnvironmentConfig InvalidSubmission Agent Prompt Tool RolloutEnded Verifier Sandbox Sandboxes "
        "JudgeRunner SandboxProvider ProviderOptions Policy SessionLost "
        "GenerateRequest SamplingParams RandomKey Generation PolicyStatus WeightManifest TensorSpec Learner "
        "Batch PackedGroup TrainingRow StepReport LossFigures OptimizerStep LossPlan LossTokens TrainingSample "
        "AlgorithmPart PartOptions AdvantageEstimator PolicyLoss Correction Aggregation Regularizer "
        "RewardPart RolloutReward"
    ),
    "agent_rl.errors": (
        "AgentRLError ConfigError CheckFailed InfrastructureError SandboxError SandboxStartError TestsPlaceError "
        "FilesNotTaken PolicyError LearnerError EnvironmentFailure StorageError"
    ),
    "agent_rl.config": "load_config parse_config RunConfig SandboxConfig",
    "agent_rl.registry": "resolve",
    "agent_rl.formats": (
        "read_tasks InvalidRows OnInvalid PromptStyle UnfinishedThinking ShellScript program_of script_in prepare_all "
        "refuse_judging_keys"
    ),
    "agent_rl.judging": "AnswerComparison TaskVerifier take_files",
    "agent_rl.providers": "choose_provider",
    "agent_rl.rollouts.run_group": "run_rollout run_group AgentMaker oracle_agent empty_agent",
    "agent_rl.algorithms": "Algorithm make_algorithm",
    "agent_rl.algorithms.advantages": "MaxRL RLOO GRPO Reinforce",
    "agent_rl.evaluation.evaluate": "evaluate GroupRunner",
    "agent_rl.evaluation.pass_at_k": "pass_at_k",
    "agent_rl.records.eval_row": "EvalRow Estimate",
    "agent_rl.records.bootstrap": "bootstrap_mean",
    "agent_rl.loop.train": "train",
}
"""Module -> its public names, in the order of the API reference. A test checks that it equals `__all__` and the
imports."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def public_names(module: str) -> list[str]:
    """The names of `__all__` that `module` defines, in order; empty if it defines none."""
    return _HOMES.get(module, "").split()


def __getattr__(name: str) -> Any:
    """The object of a public name, loaded from its module and kept."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'agent_rl' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})


__all__ = [
    "AdvantageEstimator",
    "Agent",
    "AgentMaker",
    "AgentRLError",
    "Aggregation",
    "Algorithm",
    "AlgorithmPart",
    "AnswerComparison",
    "AnswerTests",
    "AssertTests",
    "Batch",
    "CallTests",
    "Case",
    "CheckFailed",
    "ConfigError",
    "Correction",
    "DroppedRollout",
    "EndlessTasks",
    "Environment",
    "EnvironmentConfig",
    "EnvironmentFailure",
    "Estimate",
    "EvalRow",
    "ExecResult",
    "FilesNotTaken",
    "GRPO",
    "GenerateRequest",
    "Generation",
    "Group",
    "GroupRunner",
    "InfrastructureError",
    "InvalidRows",
    "InvalidSubmission",
    "Isolation",
    "JudgeRunner",
    "Learner",
    "LearnerError",
    "Limits",
    "LossFigures",
    "LossPlan",
    "LossTokens",
    "MaxRL",
    "Message",
    "OnInvalid",
    "OptimizerStep",
    "PackedGroup",
    "PairRequest",
    "PairResult",
    "PartOptions",
    "Policy",
    "PolicyError",
    "PolicyLoss",
    "PolicyStatus",
    "Prompt",
    "PromptStyle",
    "ProviderOptions",
    "PytestTests",
    "RLOO",
    "RandomKey",
    "Regularizer",
    "Reinforce",
    "RewardPart",
    "RolloutEnded",
    "RolloutReward",
    "RunCall",
    "RunConfig",
    "RunRequest",
    "RunResult",
    "SamplingParams",
    "Sandbox",
    "SandboxConfig",
    "SandboxError",
    "SandboxProvider",
    "SandboxSpec",
    "SandboxStartError",
    "Sandboxes",
    "SessionLost",
    "ScriptTests",
    "Segment",
    "ShellScript",
    "StdioCase",
    "StdioTests",
    "StepReport",
    "StorageError",
    "Submission",
    "Task",
    "TaskVerifier",
    "TensorSpec",
    "TestResult",
    "Tests",
    "TestsPlaceError",
    "Tier",
    "Timings",
    "Tool",
    "ToolCall",
    "TrainingRow",
    "TrainingSample",
    "Trajectory",
    "Turn",
    "UnfinishedThinking",
    "Verdict",
    "Verifier",
    "WeightManifest",
    "bootstrap_mean",
    "call_feedback",
    "choose_provider",
    "empty_agent",
    "evaluate",
    "final_answer",
    "load_config",
    "make_algorithm",
    "oracle_agent",
    "parse_config",
    "pass_at_k",
    "prepare_all",
    "program_of",
    "read_tasks",
    "refuse_judging_keys",
    "resolve",
    "run_group",
    "run_rollout",
    "script_in",
    "take_files",
    "train",
]
