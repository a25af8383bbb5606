"""The interfaces between the parts of the library. `agent_rl.testing.contracts` has conformance suites for them."""

from agent_rl.contracts.agent import Agent, Prompt, RolloutEnded, Tool
from agent_rl.contracts.algorithm import (
    AdvantageEstimator,
    Aggregation,
    AlgorithmPart,
    Correction,
    LossPlan,
    LossTokens,
    PartOptions,
    PolicyLoss,
    Regularizer,
    TrainingSample,
)
from agent_rl.contracts.environment import Environment, EnvironmentConfig, InvalidSubmission
from agent_rl.contracts.judge_runner import JudgeRunner
from agent_rl.contracts.learner import (
    Batch,
    Learner,
    LossFigures,
    OptimizerStep,
    PackedGroup,
    StepReport,
    TrainingRow,
)
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
from agent_rl.contracts.reward import RewardPart, RolloutReward
from agent_rl.contracts.sandbox import ProviderOptions, Sandbox, Sandboxes, SandboxProvider
from agent_rl.contracts.verifier import Verifier

__all__ = [
    "AdvantageEstimator",
    "Agent",
    "Aggregation",
    "AlgorithmPart",
    "Batch",
    "Correction",
    "Environment",
    "EnvironmentConfig",
    "GenerateRequest",
    "Generation",
    "InvalidSubmission",
    "JudgeRunner",
    "Learner",
    "LossFigures",
    "LossPlan",
    "LossTokens",
    "OptimizerStep",
    "PackedGroup",
    "PartOptions",
    "Policy",
    "PolicyLoss",
    "PolicyStatus",
    "Prompt",
    "ProviderOptions",
    "RandomKey",
    "Regularizer",
    "RewardPart",
    "RolloutEnded",
    "RolloutReward",
    "SamplingParams",
    "Sandbox",
    "SandboxProvider",
    "Sandboxes",
    "SessionLost",
    "StepReport",
    "TensorSpec",
    "Tool",
    "TrainingRow",
    "TrainingSample",
    "Verifier",
    "WeightManifest",
]
