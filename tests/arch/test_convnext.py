"""ConvNeXt: torchvision's and timm's equal ours, also the isotropic ones' blocks; initialisation and rates as
published.
"""

import pytest
import torch
from torch import nn

import convatlas
from convatlas.arch import convnext_roadmap
from convatlas.parts import DropPath, LayerNorm2d, LayerScale, Residual
from parity import assert_equal_logits, randomized, transplant

SIZES = ("tiny", "small", "base", "large")
PEERS = [
    *(("torchvision", f"convnext_{size}", f"convnext_{size}", {"layer_scale": 0.5}, {"layer_scale": 0.5})
      for size in SIZES),
    *(("timm", f"convnext_{size}", f"convnext_{size}", {"layer_scale": 0.5}, {"ls_init_value": 0.5})
      for size in (*SIZES, "xlarge")),
]


def isotropic(**fields):
    with torch.device("meta"):
        return convatlas.create_model("convnext_isotropic_small", **fields)


@pytest.mark.parametrize("row", [PEERS[0], *(pytest.param(row, marks=pytest.mark.slow) for row in PEERS[1:])],
                         ids=lambda row: f"{row[0]}-{row[1]}")
def test_peers_have_our_scores(row):
    library, name, ours, fields, kwargs = row
    assert_equal_logits(library, name, ours, 64, fields, kwargs)


def test_isotropic_is_timms_blocks_behind_one_another():
    from timm.models.convnext import ConvNeXtBlock

    blocks = [ConvNeXtBlock(48, ls_init_value=None) for _ in range(3)]
    theirs = randomized(nn.Sequential(nn.Conv2d(3, 48, 16, 16), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                      nn.LayerNorm(48, eps=1e-6), nn.Linear(48, 10)).double())
    ours = convatlas.create_model("convnext_isotropic_small", channels=48, blocks=3, num_classes=10).double().eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    transplant(theirs, ours, x)
    with torch.inference_mode():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-9 * expected.abs().max().item())


def test_only_the_large_isotropic_one_has_layer_scale():
    with torch.device("meta"):
        scaled = {size: any(isinstance(m, LayerScale) for m in convatlas.create_model(f"convnext_isotropic_{size}")
                            .modules()) for size in ("small", "base", "large")}
    assert scaled == {"small": False, "base": False, "large": True}


@pytest.mark.parametrize(("name", "peak"), [
    ("convnext_tiny", 0.1), ("convnext_small", 0.4), ("convnext_base", 0.5), ("convnext_large", 0.5),
    ("convnext_xlarge", 0.2),
    ("convnext_isotropic_small", 0.1), ("convnext_isotropic_base", 0.2), ("convnext_isotropic_large", 0.5)])
def test_rates_rise_evenly_to_the_peak(name, peak):
    with torch.device("meta"):
        model = convatlas.create_model(name)
    rates = [m.drop.rate if isinstance(m.drop, DropPath) else 0.0 for m in model.modules() if isinstance(m, Residual)]
    assert rates == pytest.approx([peak * i / (len(rates) - 1) for i in range(len(rates))])


def test_weights_start_as_published():
    torch.manual_seed(0)
    for model in (convatlas.create_model("convnext_tiny"),
                  convatlas.create_model("convnext_isotropic_small", blocks=2)):
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        weights = torch.cat([m.weight.flatten() for m in layers])
        assert abs(weights.std().item() - 0.02) < 1e-4 and abs(weights.mean().item()) < 1e-4
        assert all(m.bias.eq(0).all() for m in layers)
        assert all(m.gamma.eq(1e-6).all() for m in model.modules() if isinstance(m, LayerScale))
        assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_a_new_classifier_starts_likewise():
    torch.manual_seed(0)
    model = convatlas.create_model("convnext_tiny", blocks=(1, 1, 1, 1))
    model.reset_classifier(500)
    assert abs(model.get_classifier().weight.std().item() - 0.02) < 1e-4 and model.get_classifier().bias.eq(0).all()


def test_fields():
    with torch.device("meta"):
        model = convatlas.create_model("convnext_tiny", stem="cifar", kernel=5, layer_scale=0.0, norm_eps=1e-5,
                                       global_pool="catavgmax", num_classes=10)
        assert model.stem(torch.empty(1, 3, 32, 32)).shape == (1, 96, 32, 32)
        assert model(torch.empty(1, 3, 32, 32)).shape == (1, 10) and model.head_hidden_size == 2 * 768
        bare = convatlas.create_model("convnext_tiny", global_pool="none", num_classes=0)
        assert bare(torch.empty(1, 3, 64, 64)).shape == (1, 768, 2, 2)
        assert isotropic(stem="cifar").stem(torch.empty(1, 3, 32, 32)).shape == (1, 384, 32, 32)
        assert isotropic(global_pool="max", num_classes=3)(torch.empty(1, 3, 32, 32)).shape == (1, 3)
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    assert not any(isinstance(m, LayerScale) for m in model.modules())
    assert {m.kernel_size for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1} == {(5, 5)}
    assert isinstance(bare.head.hidden.norm, LayerNorm2d)


def same_weights(ours, theirs):
    """Both in double precision and eval mode, `theirs` with the weights of `ours`, layer by layer."""
    randomized(ours.double().eval())
    given = list(ours.state_dict().values())
    own = theirs.double().eval().state_dict()
    theirs.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in zip(own, given, strict=True)})


@pytest.mark.parametrize(("step", "name", "width", "fields"), [
    ("ResNet-50", "resnet50", 64, {"table": ("bottleneck", 1, 1, 1, 1)}),
    ("separate downsampling", "convnext_tiny", 12, {
        "channels": (12, 24, 48, 96), "blocks": (1, 1, 1, 1), "layer_scale": 0.0}),
])
def test_the_roadmap_begins_and_ends_with_the_papers_networks(step, name, width, fields):
    ours = convatlas.create_model("convnext_roadmap", num_classes=10, **convnext_roadmap.step(step) | {
        "width": width, "blocks": (1, 1, 1, 1)})
    theirs = convatlas.create_model(name, num_classes=10, **fields)
    same_weights(ours, theirs)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize(("stem", "size"), [("imagenet", 64), ("cifar", 32)])
def test_each_step_of_the_roadmap_changes_the_network_and_nothing_is_left_out(stem, size):
    seen = set()
    for step in convnext_roadmap.ROADMAP:
        fields = convnext_roadmap.step(step)
        fields |= {"blocks": (1, 1, 1, 1), "stem": stem, "width": int(fields.get("width", 64)) // 8}
        net = convatlas.create_model("convnext_roadmap", **fields, num_classes=10, drop_path_rate=0.0, image_size=size)
        net(torch.randn(2, 3, size, size)).sum().backward()
        assert all(weight.grad is not None for weight in net.parameters()), step
        assert [tap["reduction"] for tap in net.feature_info][-4:] == (
            [4, 8, 16, 32] if stem == "imagenet" else [2, 4, 8, 16])
        seen.add(repr(net))
    assert len(seen) == len(convnext_roadmap.ROADMAP) - 1       # the stage ratio is given here


def test_steps_leave_the_norms_and_activations_that_the_text_says():
    def kinds(step):
        with torch.device("meta"):
            block = convatlas.create_model("convnext_roadmap", **convnext_roadmap.step(step)).stages[1].blocks[1]
        return [type(m).__name__ for m in block.modules() if isinstance(
            m, nn.Conv2d | nn.ReLU | nn.GELU | nn.BatchNorm2d | LayerNorm2d)]

    assert kinds("ResNet-50") == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds("GELU") == ["Conv2d", "BatchNorm2d", "GELU"] * 2 + ["Conv2d", "BatchNorm2d", "GELU"]
    assert kinds("fewer activations") == ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "GELU", "Conv2d",
                                          "BatchNorm2d"]
    assert kinds("fewer norms") == ["Conv2d", "BatchNorm2d", "Conv2d", "GELU", "Conv2d"]
    assert kinds("LayerNorm") == ["Conv2d", "LayerNorm2d", "Conv2d", "GELU", "Conv2d"]
