"""`TorchLearner`: minimizes what `[algorithm]` says (`plan_loss`), for any transformers decoder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from agent_rl.config import Optimizer, Precision
from agent_rl.contracts import Batch, Learner, LossFigures, LossPlan, OptimizerStep, WeightManifest
from agent_rl.contracts.learner import Wanted
from agent_rl.contracts.policy import Transport
from agent_rl.errors import ConfigError, LearnerError
from agent_rl.learner.causal_model import load_model, micro_batch_limit, model_figures, model_logprobs
from agent_rl.learner.micro_batches import MicroBatch, Tokens, micro_batches
from agent_rl.learner.model_folder import copy_tokenizer, model_folder, written_atomically
from agent_rl.learner.offload import HostState, training_state
from agent_rl.learner.plan_loss import MicroBatchTokens, plan_loss
from agent_rl.weights.cuda_ipc import CudaSender
from agent_rl.weights.shared_memory import SharedMemorySender

SCHEMA_VERSION = 2


class TorchLearner(Learner):
    """A learner on one device. Its methods block their process, so it runs in its own.

    The weights are kept in float32; `precision = "bfloat16"` applies only to the matrix products (automatic mixed
    precision). There is no dropout, so that the ratio of an on-policy token is 1.
    """

    def __init__(
        self,
        model_path: str,
        *,
        optimizer: Optimizer,
        temperature: float = 1.0,
        precision: Precision = "float32",
        device: str = "auto",
        micro_batch_tokens: int = 16384,
        blob_prefix: str = "weights",
        transport: Transport = "shared_memory",
        version: int = 0,
        seed: int = 0,
        deterministic: bool = False,
        reference: bool = False,
    ) -> None:
        """`reference`: the starting model is kept beside the trained one, for parts that require it."""
        torch.manual_seed(seed)
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        self._accelerator = make_accelerator(device, precision)
        self._tokenizer_source = model_folder(model_path)
        self._model = load_model(self._tokenizer_source, self._accelerator.device)
        self._reference = load_model(self._tokenizer_source, self._accelerator.device) if reference else None
        self._settings = optimizer
        self._optimizer = make_optimizer(self._model, optimizer)
        self._schedule = make_schedule(self._optimizer, optimizer)
        self._temperature = temperature
        self._micro_batch_tokens = micro_batch_limit(self._model, micro_batch_tokens)
        self._sender = _sender(transport, blob_prefix, self._accelerator.device)
        self._offloaded: HostState | None = None
        """While asleep: the state moved from the device to the host."""
        self._version = version

    @property
    def version(self) -> int:
        """The version of the current weights."""
        return self._version

    async def forward_backward(self, batch: Batch, plan: LossPlan) -> LossFigures:
        """The gradient of the batch's loss has been added to what is there; the figures are over its trained tokens.

        Raises LearnerError when the learner sleeps.
        """
        self._check_awake("forward_backward")
        figures = LossFigures()
        try:
            for micro_batch in self._micro_batches(batch, "trained"):
                loss, measured = self._loss(micro_batch, plan)
                self._accelerator.backward(loss)
                figures += measured
        except BaseException:
            self._optimizer.zero_grad(set_to_none=True)
            raise
        return figures

    def _loss(self, batch: MicroBatch, plan: LossPlan) -> tuple[Tensor, LossFigures]:
        """The micro-batch's part of the loss, a sum over its tokens, and what was measured."""
        reference = None
        if "reference" in plan.needs:
            if self._reference is None:
                raise LearnerError("this learner was started without a reference model")
            with torch.no_grad(), self._accelerator.autocast():
                reference = model_logprobs(self._reference, batch, self._temperature)
        with self._accelerator.autocast():
            figures = model_figures(self._model, batch, self._temperature, entropies="entropy" in plan.needs)
        tokens = MicroBatchTokens(
            batch,
            figures.logprobs,
            self._version,
            proximal=plan.proximal,
            reference=reference,
            entropies=figures.entropies,
        )
        return plan_loss(plan, tokens)

    async def optim_step(self, *, last: bool = True) -> OptimizerStep:
        """One optimizer step, if any token had a gradient. See `Learner.optim_step`."""
        self._check_awake("optim_step")
        has_gradient = any(p.grad is not None for p in self._model.parameters())
        norm, rate = self._update() if has_gradient else (0.0, 0.0)
        self._version += last
        return OptimizerStep(self._version, norm, rate)

    def _update(self) -> tuple[float, float]:
        """Updates the weights; returns the norm of the gradient before clipping, and the learning rate."""
        total = self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        norm = float(total) if total is not None else 0.0
        if not math.isfinite(norm):
            self._optimizer.zero_grad(set_to_none=True)
            raise LearnerError(f"the gradient's norm is {norm}: no step is taken")
        rate = float(self._schedule.get_last_lr()[0])
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm, rate

    def _micro_batches(self, batch: Batch, tokens: Tokens) -> Iterator[MicroBatch]:
        return micro_batches(
            batch.groups,
            max_tokens=self._micro_batch_tokens,
            tokens=tokens,
            device=self._model.device,
            dtype=self._model.dtype,
        )

    async def forward(self, batch: Batch, wanted: Wanted = "logprobs") -> list[list[list[float]]]:
        """The figure `wanted` of every token of every row, trained or not; [group][row][T]."""
        self._check_awake("forward")
        result = [[[0.0] * len(row.token_ids) for row in group.rows] for group in batch.groups]
        with torch.no_grad():
            for micro_batch in self._micro_batches(batch, "all"):
                with self._accelerator.autocast():
                    found = model_figures(self._model, micro_batch, self._temperature, entropies=wanted == "entropies")
                values = (found.logprobs if found.entropies is None else found.entropies).tolist()
                for group, row, token, value in zip(*micro_batch.places, values, strict=True):
                    result[group][row][token] = value
        return result

    async def publish(self, version: int) -> WeightManifest:
        """Publishes the current weights in float32, tied ones once. Raises LearnerError for another version."""
        if version != self._version:
            raise LearnerError(f"version {version} was to be published, but the weights are of version {self._version}")
        return self._sender.send(dict(self._model.named_parameters()), version)

    async def save(self, path: str) -> None:
        """`path` is a folder that transformers can load, plus optimizer.pt and learner.json; written atomically."""
        with written_atomically(Path(path)) as folder:
            self._model.save_pretrained(folder)
            copy_tokenizer(self._tokenizer_source, folder)
            state = {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}
            torch.save({**state, "random": _random_state()}, folder / "optimizer.pt")
            counters = {"schema_version": SCHEMA_VERSION, "version": self._version}
            (folder / "learner.json").write_text(json.dumps(counters))

    async def load(self, path: str) -> None:
        """Restores the state that `save` wrote, bit for bit. Raises ConfigError when `path` holds no such state."""
        self._check_awake("load")
        folder = Path(path)
        try:
            counters = json.loads((folder / "learner.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is not a learner's checkpoint: {error}", key="--resume") from None
        if counters.get("schema_version") != SCHEMA_VERSION:
            raise ConfigError(f"{path} was written by another version of agent-rl", key="--resume")
        self._model = load_model(folder, self._accelerator.device)
        self._optimizer = make_optimizer(self._model, self._settings)
        self._schedule = make_schedule(self._optimizer, self._settings)
        state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        _set_random_state(state["random"])
        self._version = counters["version"]

    async def sleep(self) -> None:
        """The state is on the host, and the device's memory is free; on a CPU nothing moves. Idempotent."""
        if self._offloaded is None:
            host = HostState()
            state = [*training_state(self._model, self._optimizer)]
            if self._reference is not None:
                state += self._reference.parameters()
            host.take(tensor for tensor in state if tensor.device.type != "cpu")
            self._offloaded = host

    async def wake(self) -> None:
        """The state is on the device again, bit for bit. Idempotent."""
        if self._offloaded is not None:
            self._offloaded.give_back()
            self._offloaded = None

    def _check_awake(self, call: str) -> None:
        if self._offloaded is not None:
            raise LearnerError(f"the learner is asleep: wake it before {call!r}")

    async def close(self) -> None:
        """Published weights can no longer be loaded. Idempotent."""
        self._sender.close()


def _sender(transport: Transport, prefix: str, device: torch.device) -> SharedMemorySender | CudaSender:
    """The sender of the weights. Raises ConfigError for CUDA IPC without a GPU."""
    if transport == "shared_memory":
        return SharedMemorySender(prefix)
    try:
        return CudaSender(device)
    except ValueError as error:
        raise ConfigError(str(error), key="loop.transport", value=transport) from None


def make_accelerator(device: str, precision: Precision) -> Accelerator:
    """Places tensors on `device` (auto, cpu, cuda, cuda:1, ...) and computes products in `precision`."""
    if device not in ("auto", "cpu"):
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"the device {device!r} cannot be used: {reason}", key="learner.device") from None
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bfloat16" else "no")


def make_optimizer(model: torch.nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW, fused, with weight decay on matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, settings: Optimizer) -> LambdaLR:
    """The rate of each step: linear over `warmup_steps`, then constant or falling to a tenth over `decay_steps`."""

    def share(steps: int) -> float:
        warm = min(1.0, (steps + 1) / max(settings.warmup_steps, 1))
        if settings.decay_steps == 0:
            return warm
        return warm * (1.0 - 0.9 * min(1.0, max(0, steps - settings.warmup_steps) / settings.decay_steps))

    return LambdaLR(optimizer, share)


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
