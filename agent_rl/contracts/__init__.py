"""The interfaces between the parts of the library. `agent_rl.testing.contracts` has conformance suites for them."""

from agent_rl.contracts.agent import Agent, Prompt, RolloutEnded, Tool
from agent_rl.contracts.environment import Environment, EnvironmentConfig, InvalidSubmission
from agent_rl.contracts.judge_runner import JudgeRunner
from agent_rl.contracts.learner import Batch, Learner, PackedGroup, StepReport, TrainingRow
from agent_rl.contracts.objective import Objective
from agent_rl.contracts.policy import (
    GenerateRequest,
    Generation,
    Policy,
    PolicyStatus,
    RandomKey,
    SamplingParams,
    SessionLost,
    TensorSpec,
    WeightManifest,
)
from agent_rl.contracts.sandbox import ProviderOptions, Sandbox, Sandboxes, SandboxProvider
from agent_rl.contracts.verifier import Verifier

__all__ = [
    "Agent",
    "Batch",
    "Environment",
    "EnvironmentConfig",
    "GenerateRequest",
    "Generation",
    "InvalidSubmission",
    "JudgeRunner",
    "Learner",
    "Objective",
    "PackedGroup",
    "Policy",
    "PolicyStatus",
    "Prompt",
    "ProviderOptions",
    "RandomKey",
    "RolloutEnded",
    "TrainingRow",
    "Sandbox",
    "Sandboxes",
    "SandboxProvider",
    "SamplingParams",
    "SessionLost",
    "StepReport",
    "TensorSpec",
    "Tool",
    "Verifier",
    "WeightManifest",
]
