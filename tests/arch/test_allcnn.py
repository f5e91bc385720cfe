"""All-CNN: the three ways of reducing against the layer sequences of Tables 1 and 2; initialisation; dropout."""

import pytest
import torch
from torch import nn

import convatlas

#   kernel size, stride and kernels of convolutions, 'pool' for 3×3/2 max-pooling
TAIL = ["3 192", "1 192", "1 10"]
SEQUENCES = {
    "allcnn_base_a": ["5 96", "pool", "5 192", "pool", *TAIL],
    "allcnn_base_b": ["5 96", "1 96", "pool", "5 192", "1 192", "pool", *TAIL],
    "allcnn_base_c": ["3 96", "3 96", "pool", "3 192", "3 192", "pool", *TAIL],
    "strided_cnn_a": ["5/2 96", "5/2 192", *TAIL],
    "strided_cnn_b": ["5 96", "1/2 96", "5 192", "1/2 192", *TAIL],
    "strided_cnn_c": ["3 96", "3/2 96", "3 192", "3/2 192", *TAIL],
    "convpool_cnn_a": ["5 96", "3 96", "pool", "5 192", "3 192", "pool", *TAIL],
    "convpool_cnn_b": ["5 96", "1 96", "3 96", "pool", "5 192", "1 192", "3 192", "pool", *TAIL],
    "convpool_cnn_c": ["3 96", "3 96", "3 96", "pool", "3 192", "3 192", "3 192", "pool", *TAIL],
    "all_cnn_a": ["5 96", "3/2 96", "5 192", "3/2 192", *TAIL],
    "all_cnn_b": ["5 96", "1 96", "3/2 96", "5 192", "1 192", "3/2 192", *TAIL],
    "all_cnn_c": ["3 96", "3 96", "3/2 96", "3 192", "3 192", "3/2 192", *TAIL],
    "all_cnn_b_imagenet": ["11/4 96", "1 96", "3/2 96", "5 256", "1 256", "3/2 256", "3 384", "1 384", "3/2 384",
                           "3 1024", "1 1024", "1 1000"],
}


def meta(name: str, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


def sequence(model: nn.Module) -> list[str]:
    found = []
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            found.append(f"{m.kernel_size[0]}{'' if m.stride[0] == 1 else f'/{m.stride[0]}'} {m.out_channels}")
        if isinstance(m, nn.MaxPool2d):
            assert (m.kernel_size, m.stride) == (3, 2)
            found.append("pool")
    return found


@pytest.mark.parametrize("name", SEQUENCES)
def test_layers_are_the_papers(name):
    model = meta(name)
    assert sequence(model) == SEQUENCES[name]
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == sum(" " in layer for layer in SEQUENCES[name])


def test_an_independent_sequence_has_the_same_scores():
    model = convatlas.create_model("all_cnn_c").double().eval()
    theirs = nn.Sequential()
    cin = 3
    for layer in SEQUENCES["all_cnn_c"]:
        (kernel, _, stride), cout = layer.split()[0].partition("/"), int(layer.split()[1])
        theirs += nn.Sequential(nn.Conv2d(cin, cout, int(kernel), int(stride or 1), int(kernel) // 2), nn.ReLU())
        cin = cout
    theirs = theirs.double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = theirs(x).mean((2, 3))
    assert expected.std() > 0
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-12)


def test_dropout_of_the_input_and_behind_each_reduction():
    def places(model):
        return {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}

    assert places(meta("all_cnn_c")) == {"stem.drop0": 0.2, "stages.0.drop1": 0.5, "stages.1.drop2": 0.5}
    assert set(places(meta("all_cnn_c", drop_rate=0.1, input_drop_rate=0.3)).items()) == {
        ("stem.drop0", 0.3), ("stages.0.drop1", 0.1), ("stages.1.drop2", 0.1)}
    assert places(meta("all_cnn_b_imagenet")) == {"stem.drop0": 0.0, "stages.2.drop3": 0.5}


def test_weights_start_gaussian():
    torch.manual_seed(0)
    for layer in convatlas.create_model("all_cnn_c").modules():
        if isinstance(layer, nn.Conv2d):
            assert abs(layer.weight.std().item() / 0.05 - 1) < 0.1 and layer.bias.eq(0).all()


def test_cifar_stem_of_the_imagenet_network():
    model = meta("all_cnn_b_imagenet", stem="cifar")
    assert sequence(model)[:2] == ["3 96", "3/2 96"] and model.feature_info[0]["reduction"] == 1


@pytest.mark.parametrize("width, deviation", [(1.0, 0.05), (0.25, 0.1)])
def test_narrow_layers_begin_with_larger_weights(width, deviation):
    """Sums of a quarter of the terms keep their variance; the first layer reads the image, whatever the width."""
    torch.manual_seed(0)
    model = convatlas.create_model("all_cnn_c", width=width, num_classes=10)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert float(layers[0].weight.std()) == pytest.approx(0.05, rel=0.1)
    assert [float(m.weight.std()) for m in layers[1:]] == pytest.approx([deviation] * 8, rel=0.1)
