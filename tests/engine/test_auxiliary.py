"""Auxiliary classifiers are trained when a network has them, and a loop that has never heard of them keeps working."""

import pytest
import torch
from torch import nn

from convatlas.engine.auxiliary import WithAuxiliary, losses_of, with_auxiliary
from convatlas.engine.losses import per_image
from convatlas.net.model import AuxHead, Convnet, pooled
from convatlas.net.registry import variant
from convatlas.run import Loss
from convatlas.zoo import create_model


def net() -> Convnet:
    side = AuxHead(0, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, 3)
    stages = [nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)]
    return Convnet(variant("lenet5").spec, None, stages, pooled(5, 3), aux={"first": side}, aux_weight=0.3)


def test_forward_ignores_them_and_the_loss_adds_them():
    model = net()
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    scores, others = model.forward_aux(x)
    assert torch.equal(scores, model(x)) and list(others) == ["first"]
    loss = per_image(Loss(name="cross_entropy"), 3)
    own, losses = losses_of(model, WithAuxiliary(model)(x), labels, loss)
    assert torch.equal(own, scores)
    torch.testing.assert_close(losses, loss(scores, labels) + 0.3 * loss(others["first"], labels))
    losses.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_sharding_with_them_is_refused_in_a_sentence():
    from types import SimpleNamespace

    from convatlas.errors import ConvatlasError

    with pytest.raises(ConvatlasError, match="parallel = 'ddp'"):
        with_auxiliary(net(), SimpleNamespace(size=2), "fsdp")      # type: ignore[arg-type]
    plain = create_model("lenet5")
    assert with_auxiliary(plain, SimpleNamespace(size=2), "fsdp") is plain      # type: ignore[arg-type]
