"""The sections of a run's configuration: keys, defaults, and checks across sections."""

from __future__ import annotations

from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError, model_validator
from pydantic_core import InitErrorDetails

Precision = Literal["float32", "bfloat16"]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values are not coerced."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _tuples_from_toml(cls, data: Any) -> Any:
        """Converts TOML's lists to tuples where a field is a tuple: the configuration is immutable."""
        if not isinstance(data, dict):
            return data  # pyright: ignore
        tuples = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple}
        return {k: tuple(v) if k in tuples and isinstance(v, list) else v for k, v in data.items()}  # pyright: ignore


class EnvironmentEntry(Section):
    """One environment of the mix, named as package.module:Class, path/to/file.py:Class, or a registered short name."""

    environment: str
    name: str = ""
    """The name in metrics; by default the registered short name, or the class's name."""
    weight: float = Field(default=1.0, gt=0)
    minimum_mutation_score: float = Field(default=0.0, ge=0, le=1)
    """Training tasks with a lower mutation score are dropped; 0 drops none. The score is the share of mutants of the
    oracle solution that the hidden tests kill. It is measured once, which takes a while, and kept in the cache.
    Evaluations drop no tasks."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Validated by the environment's own `config_class`."""


class ScratchModel(Section):
    """A new small model of a standard architecture, with a tokenizer trained on the environment's demonstrations."""

    architecture: Literal["llama", "qwen3"] = "llama"
    tokenizer: Literal["bytes", "words"] = "bytes"
    """bytes: a byte-level BPE, which can encode any text. words: one token per word of the demonstrations, for
    languages of a few words; other words become one unknown token, and nothing marks the roles of messages."""
    vocabulary: PositiveInt = 512
    """At most so many tokens; with words exactly so many, some of them never used."""
    width: PositiveInt = 128
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    kv_heads: PositiveInt = 4
    ffn_width: PositiveInt = 384
    context: PositiveInt = 512


class SftConfig(Section):
    """SFT on the environments' demonstrations, before reinforcement learning. The result is cached by content."""

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 64
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    seed: int | None = None
    """None: the run's seed. Set it to start runs with different seeds from the same model."""


class Model(Section):
    """The source of the policy's first weights: `path` (a folder or a hub name), or `scratch`."""

    path: str | None = None
    scratch: ScratchModel | None = None
    sft: SftConfig | None = None
    chat_template: str | None = None
    """A Jinja file that replaces the tokenizer's own template."""
    template_variables: dict[str, JsonValue] = Field(default_factory=dict)
    """Values for variables of the chat template, such as enable_thinking = false. They hold wherever conversations
    become tokens: in training, evaluation and SFT. A variable that the template does not use is an error."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give either path or [model.scratch]")
        return self


class Sampling(Section):
    """How training rollouts are sampled. top_p and top_k bias the importance ratios, so training refuses them."""

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_tokens: PositiveInt = 256
    """Tokens per turn."""
    rollout_deadline: float = Field(default=600.0, gt=0)
    """Seconds from the start of a rollout. At the deadline it ends as `deadline`, and what it has so far is judged."""


class Part(BaseModel):
    """A part of the algorithm: its registered short name, or package.module:Class, or path/to/file.py:Class.

    All other keys are the part's own options, which it validates: see `agent_rl.algorithms`.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The part's own options, not validated yet."""
        return dict(self.model_extra or {})


class WeightedPart(Part):
    """A part of the reward, and its weight in the sum."""

    weight: float = 1.0


class AlgorithmConfig(Section):
    """How groups become training samples, and what is minimized on them. Each part is a table with its options."""

    advantage: Part = Part(name="maxrl")
    """The advantage estimator."""
    loss: Part = Part(name="policy_gradient")
    """The policy loss."""
    correction: Part | None = None
    """Importance correction against the sampler. None: `none` for a loss with a ratio to the sampler, else `tis`."""
    aggregation: Part = Part(name="constant")
    """Loss aggregation: what the sum over tokens is divided by."""
    regularizers: tuple[Part, ...] = ()
    """Terms that are added to the loss."""
    proximal: Literal["sampler", "recompute", "interpolate"] = "sampler"
    """The policy that a loss with a ratio stays close to. sampler: the one that sampled. recompute: the learner before
    the step, by one more pass (decoupled PPO). interpolate: between the two by the token's age (A-3PO)."""
    passes: PositiveInt = 1
    """How often a batch is trained on (PPO epochs). All of them together are one version."""
    minibatches: PositiveInt = 1
    """Optimizer steps of a pass: a batch is divided into so many parts, by groups."""
    shuffle_rewards: bool = False
    """Shuffled-reward control: the rewards of a group are shuffled among its rollouts."""


class Optimizer(Section):
    """AdamW with gradient clipping. The learning rate rises linearly, then stays constant or falls linearly."""

    learning_rate: float = Field(default=5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    decay_steps: int = Field(default=0, ge=0)
    """Steps after the warm-up in which the rate falls linearly to a tenth; 0 keeps it constant."""


class Loop(Section):
    """The asynchronous training loop. All counts are in groups. Synchronous training is max_staleness = 0."""

    steps: PositiveInt = 100
    groups_per_batch: PositiveInt = 16
    group_size: PositiveInt = 16
    """N, the rollouts of one task."""
    max_staleness: int = Field(default=1, ge=0)
    straggler_timeout: float = Field(default=30.0, ge=0)
    on_stale: Literal["drop", "mask"] = "drop"
    transport: Literal["shared_memory", "cuda_ipc"] = "shared_memory"
    """How new weights reach the policy. shared_memory: through the host's memory; works everywhere. cuda_ipc: from GPU
    to GPU on one host; policy and learner must both be on GPUs and work at the same time."""
    placement: Literal["separate", "colocated"] = "separate"
    """colocated: policy and learner share one device and take turns. While the learner works, the policy sleeps:
    running requests pause, but their deadlines do not. While the policy works, the learner's state is in the host's
    memory (12 bytes per parameter with float32 weights and AdamW). Any max_staleness is allowed."""
    stuck_timeout: float = Field(default=900.0, gt=0)
    """Seconds without progress after which the watchdog names the stuck stage and dumps the stacks."""
    max_failed_share: float = Field(default=0.5, gt=0, le=1)
    """The run stops (exit 3) if infrastructure failures drop a larger share of the rollouts of the last groups."""


class VllmConfig(Section):
    """How vLLM runs, if `policy.engine` is vllm, or is auto and chooses vllm."""

    urls: tuple[str, ...] = ()
    """Servers that are already up (http://host:port), one replica each. Empty: the run launches its own servers."""
    replicas: PositiveInt = 1
    """How many servers the run launches."""
    python: str | None = None
    """A Python interpreter that has vLLM and agent-rl. None: the one named by AGENT_RL_VLLM_PYTHON, else this one if it
    has vLLM, else the one that `make vllm` made."""
    devices: tuple[int, ...] = ()
    """The GPUs for the servers: the first `tensor_parallel` GPUs for the first replica, and so on. Empty: the GPUs that
    vLLM sees."""
    tensor_parallel: PositiveInt = 1
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of the GPU's memory for weights and KV cache together. Lower it if the learner shares the GPU."""
    cpu_kv_cache_gib: PositiveInt = 1
    max_context: PositiveInt | None = None
    """Tokens of the longest conversation; None is the model's own limit."""
    enforce_eager: bool = False
    """No CUDA graphs: faster start, slower generation. Always on for a CPU."""
    start_timeout: float = Field(default=900.0, gt=0)
    """Seconds until a server must be up."""
    call_timeout: float = Field(default=300.0, gt=0)
    """Seconds for a call that does not generate, such as a weight update."""
    extra_arguments: tuple[str, ...] = ()
    """Appended to the server's command line."""

    @model_validator(mode="after")
    def _enough_devices(self) -> VllmConfig:
        needed = self.replicas * self.tensor_parallel
        if self.devices and len(self.devices) != needed:
            raise ValueError(
                f"devices names {len(self.devices)} GPUs; {self.replicas} replicas of tensor_parallel = "
                f"{self.tensor_parallel} need {needed}"
            )
        if self.urls and self.replicas not in (1, len(self.urls)):
            raise ValueError(f"replicas = {self.replicas}, but there are {len(self.urls)} urls")
        return self


class PolicyConfig(Section):
    """The inference engine."""

    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """auto is vllm if vLLM is installed and there is a GPU, else transformers."""
    threads: PositiveInt = 1
    precision: Precision = "float32"
    device: str = "auto"
    max_batch: PositiveInt = 512
    max_restarts: int = Field(default=3, ge=0)
    heartbeat_timeout: float = Field(default=120.0, gt=0)
    """Seconds without an answer after which a policy counts as hung and is restarted."""
    vllm: VllmConfig = VllmConfig()


class LearnerConfig(Section):
    """The process that trains."""

    threads: PositiveInt = 1
    precision: Precision = "float32"
    device: str = "auto"
    micro_batch_tokens: PositiveInt = 16384
    max_restarts: int = Field(default=3, ge=0)


class MismatchConfig(Section):
    """Bounds of the train-inference log-prob mismatch at a run's start, in nats per sampled token.

    Beyond the bounds the run refuses to start, because every importance ratio would be wrong by that amount. If
    learner and engine both compute in float32, only the order of summation differs: 1e-6 is usual, 1e-4 if a GPU's
    kernels differ. In bfloat16 (8 significant bits), 0.01 to 0.05 on average is usual, and single tokens of low
    probability differ by tenths.
    """

    check: bool = True
    max_mean: float | None = Field(default=None, gt=0)
    """Bound of the mean. None: 1e-3 if policy and learner are float32, else 0.1."""
    max_token: float | None = Field(default=None, gt=0)
    """Bound of the worst token. None: 0.05 if policy and learner are float32, else 1.5."""


class SandboxConfig(Section):
    """Where programs run: a registered provider, or `auto` (Docker if a daemon answers, else local).

    These keys are common to all providers. Options of one provider are in a table of its name (`[sandbox.docker]`),
    which that provider validates: see `agent_rl.providers`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, JsonValue]] = Field(init=False)  # pyright: ignore

    provider: str = "auto"
    workers: PositiveInt = 2
    minimum_isolation: Literal["container", "uid", "namespaces"] = "container"
    minimum_tier: Literal["values", "proxied", "in_process"] = "in_process"
    retries: int = Field(default=2, ge=0)
    image: str | None = None
    """Image of workers, and of episodes whose task names none; None for the one that `agent-rl sandbox build` makes. A
    provider without images refuses it."""
    preload: tuple[str, ...] = ()
    """Modules of the image (numpy, for instance) that a worker imports before it forks a run, in addition to some
    modules of the standard library. Programs find them already imported. A module that does not exist in the image is
    an error at the start."""
    warm_episodes: int = Field(default=2, ge=0)
    """How many sandboxes of each kind in use are kept ready for the next episodes (0: each starts at its first use)."""
    concurrent_starts: PositiveInt = 4
    """At most this many episode sandboxes are being started at any moment."""

    @model_validator(mode="before")
    @classmethod
    def _others_are_tables(cls, data: Any) -> Any:
        """Refuses, as an unknown key, a key that is neither in this schema nor a table."""
        if not isinstance(data, dict):
            return data
        given: dict[str, Any] = data  # pyright: ignore[reportUnknownVariableType]
        unknown = [key for key, value in given.items() if key not in cls.model_fields and not isinstance(value, dict)]
        if unknown:
            errors = [InitErrorDetails(type="extra_forbidden", loc=(key,), input=given[key]) for key in unknown]
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return given

    @property
    def tables(self) -> dict[str, dict[str, JsonValue]]:
        """The tables of single providers, by the provider's name; not validated yet."""
        return self.__pydantic_extra__


class Evaluation(Section):
    """Held-out evaluation before and after training, and every `every` steps (0: only before and after)."""

    split: str = "test"
    tasks: PositiveInt = 200
    samples: PositiveInt = 8
    k: tuple[PositiveInt, ...] = Field(default=(1, 8), min_length=1)
    greedy: bool = True
    every: int = Field(default=0, ge=0)
    before: bool = True
    """Evaluate the starting model too. Runs that share one can leave it out in all but the first."""
    enabled: bool = True

    @model_validator(mode="after")
    def _enough_samples(self) -> Evaluation:
        if max(self.k, default=0) > self.samples:
            raise ValueError(f"pass@{max(self.k)} needs at least as many samples, got samples={self.samples}")
        return self


class Checkpoints(Section):
    """When checkpoints are written and how many are kept."""

    every: PositiveInt = 1
    keep: PositiveInt = 2


class RunConfig(Section):
    """The configuration of a whole run. `agent-rl train CONFIG --dry-run` prints it, defaults included."""

    seed: int = 0
    deterministic: bool = False
    """Synchronous training, with requests admitted in a fixed order: two runs are equal bit for bit."""
    environments: tuple[EnvironmentEntry, ...] = Field(min_length=1)
    model: Model
    sampling: Sampling = Sampling()
    reward: tuple[WeightedPart, ...] = Field(default=(WeightedPart(name="outcome"),), min_length=1)
    """What the reward is made of; the sum of its parts. Binary estimators (maxrl) take the outcome alone."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    optimizer: Optimizer = Optimizer()
    loop: Loop = Loop()
    policy: PolicyConfig = PolicyConfig()
    learner: LearnerConfig = LearnerConfig()
    mismatch: MismatchConfig = MismatchConfig()
    sandbox: SandboxConfig = SandboxConfig()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.sampling.top_p < 1 or self.sampling.top_k > 0:
            raise ValueError(
                "sampling.top_p < 1 and sampling.top_k > 0 bias the importance ratios: refused in training"
            )
        if self.loop.stuck_timeout <= self.sampling.rollout_deadline:
            raise ValueError(
                f"loop.stuck_timeout = {self.loop.stuck_timeout:g} must exceed sampling.rollout_deadline = "
                f"{self.sampling.rollout_deadline:g}: else a slow rollout counts as a stuck run"
            )
        if self.loop.transport == "cuda_ipc" and self.loop.placement == "colocated":
            raise ValueError(
                'loop.transport = "cuda_ipc" needs loop.placement = "separate": a learner that takes turns with the '
                "policy publishes from the host's memory"
            )
        if self.deterministic and self.loop.max_staleness != 0:
            raise ValueError("deterministic = true is synchronous: set loop.max_staleness = 0")
        return self

    @property
    def sft_seed(self) -> int:
        """The seed of the starting model: `model.sft.seed` if it is set, else the run's seed."""
        own = self.model.sft.seed if self.model.sft is not None else None
        return self.seed if own is None else own

    @property
    def mismatch_bounds(self) -> tuple[float, float]:
        """Bounds of the train-inference log-prob mismatch, in nats: of the mean, and of the worst token."""
        exact = self.policy.precision == "float32" and self.learner.precision == "float32"
        mean, token = (1e-3, 0.05) if exact else (0.1, 1.5)
        given = self.mismatch
        return given.max_mean or mean, given.max_token or token

    def to_toml(self) -> str:
        """The whole configuration as TOML, defaults included."""
        import tomli_w  # here: the interpreter of vLLM reads the contracts, and does not have it

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
