"""State that moves between a device and the host, under a model and an optimizer that do not notice."""

from __future__ import annotations

import copy

import pytest
import torch

from agent_rl.config import Optimizer
from agent_rl.learner.offload import HostState, training_state
from agent_rl.learner.torch_learner import make_optimizer

from .conftest import build_model

Trained = tuple[torch.nn.Module, torch.optim.Optimizer]


def trained(device: str = "cpu", steps: int = 2) -> Trained:
    model = build_model("qwen3").float().to(device)
    optimizer = make_optimizer(model, Optimizer(learning_rate=1e-2))
    for seed in range(steps):
        one_step((model, optimizer), seed)
    return model, optimizer


def one_step(of: Trained, seed: int) -> None:
    """Gradients stay behind, as they do between backward passes."""
    model, optimizer = of
    ids = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(seed))
    ids = ids.to(next(model.parameters()).device)
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


def values(of: Trained) -> list[torch.Tensor]:
    return [tensor.detach().cpu().clone() for tensor in training_state(*of)]


def assert_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_state_is_weights_gradients_buffers_and_moments() -> None:
    model, optimizer = trained()
    state = list(training_state(model, optimizer))
    parameters = list(model.parameters())
    # Each parameter, its gradient, and Adam's two moments and step count.
    assert len(state) == 5 * len(parameters) + len(list(model.buffers()))
    assert len({id(tensor) for tensor in state}) == len(state), "tied weights are moved once"
    assert {id(p) for p in parameters} <= {id(tensor) for tensor in state}


def test_tensors_stay_the_same_objects_and_training_goes_on_as_if_nothing_had_happened() -> None:
    moved, undisturbed = trained(), trained()
    state = list(training_state(*moved))
    before = values(moved)
    memory = [tensor.data_ptr() for tensor in state]
    for seed in (7, 8):
        host = HostState()
        host.take(state)
        assert all(tensor.data_ptr() != at for tensor, at in zip(state, memory, strict=True)), "the memory is given up"
        if seed == 7:
            assert_equal(values(moved), before)
        host.give_back()
        assert all(a is b for a, b in zip(training_state(*moved), state, strict=True))
        one_step(moved, seed)
        one_step(undisturbed, seed)
        state = list(training_state(*moved))
        memory = [tensor.data_ptr() for tensor in state]
    assert_equal(values(moved), values(undisturbed))


def test_a_view_keeps_its_strides() -> None:
    tensor = torch.arange(12.0).reshape(3, 4).t()
    strides, held = tensor.stride(), copy.deepcopy(tensor)
    host = HostState()
    host.take([tensor])
    assert tensor.stride() == strides
    host.give_back()
    assert torch.equal(tensor, held)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_empty_while_its_state_is_on_the_host() -> None:
    moved, undisturbed = trained("cuda"), trained("cuda")
    state = list(training_state(*moved))
    devices = {tensor: tensor.device for tensor in state}
    size = sum(tensor.nbytes for tensor in state if tensor.device.type == "cuda")
    before, held = values(moved), torch.cuda.memory_allocated()
    host = HostState()
    host.take(tensor for tensor in state if tensor.device.type == "cuda")
    assert held - torch.cuda.memory_allocated() >= size
    assert all(tensor.device.type == "cpu" for tensor in state)
    assert all(tensor.is_pinned() for tensor in state if devices[tensor].type == "cuda")
    assert_equal(values(moved), before)
    host.give_back()
    assert all(tensor.device == devices[tensor] for tensor in state)
    one_step(moved, 7)
    one_step(undisturbed, 7)
    assert_equal(values(moved), values(undisturbed))
