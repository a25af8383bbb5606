"""A linear layer by oneDNN is torch's, up to rounding."""

from __future__ import annotations

import copy

import pytest
import torch

from agent_rl.learner.processor_linear import ProcessorLinear, use_processor_linear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def layers(bias: bool = False) -> tuple[torch.nn.Linear, ProcessorLinear]:
    """The same layer twice: torch's, and ours."""
    torch.manual_seed(0)
    plain = torch.nn.Linear(24, 40, bias=bias)
    ours = torch.nn.Sequential(copy.deepcopy(plain))
    names = list(ours.state_dict())
    use_processor_linear(ours)
    assert list(ours.state_dict()) == names
    layer = ours[0]
    assert isinstance(layer, ProcessorLinear)
    return plain, layer


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (1, 7, 24), (2, 3, 24), (0, 24)])
def test_output_and_gradients(shape: tuple[int, ...], bias: bool) -> None:
    plain, ours = layers(bias)
    x = torch.randn(shape)
    outcomes: list[list[torch.Tensor]] = []
    for layer in (plain, ours):
        own = x.clone().requires_grad_()
        out = layer(own)
        (out * torch.arange(40.0).sin()).sum().backward()
        gradients = [own.grad, *(p.grad for p in layer.parameters())]
        outcomes.append([out, *(g for g in gradients if g is not None)])
    assert len(outcomes[0]) == len(outcomes[1]) == 3 + bias
    for expected, found in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_other_precisions_are_left_to_torch() -> None:
    plain, ours = layers()
    x = torch.randn(5, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.double()(x.double()), plain.double()(x.double()))
