"""Names, fields and the sentences that answer wrong ones."""

import pytest

import convatlas
from convatlas import ConvatlasError
from convatlas.net import registry
from convatlas.run import assignment, written


@pytest.mark.parametrize(("name", "fields", "sentence"), [
    ("lenet", {}, "'lenet5'"),
    ("resnet9000", {}, "convatlas list"),
    ("lenet5", {"num_clases": 3}, "did you mean 'num_classes'?"),
    ("lenet5", {"img_size": 64}, "'image_size'"),
    ("lenet5", {"in_channels": 3}, "'in_chans'"),
    ("lenet5", {"pretrained": True}, "'weights'"),
    ("lenet5", {"c3": "half"}, "c3 = 'half' is refused"),
    ("lenet5", {"num_classes": -1}, "at least 0"),
    ("lenet5", {"in_chans": 0}, "at least 1"),
    ("lenet5", {"image_size": (32, 0)}, "at least 1"),
    ("alexnet", {"drop_rate": 1.0}, "less than 1"),
    ("lenet5", {"num_classes": "many"}, "num_classes = 'many'"),
])
def test_wrong_names_fields_and_values(name, fields, sentence):
    with pytest.raises(ConvatlasError) as caught:
        convatlas.create_model(name, **fields)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_aliases_resolve():
    assert convatlas.create_model("zipcode_net").name == "lecun1989_zipcode"


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="already registered"):
        registry.register("lenet5", registry.VARIANTS["lenet5"].spec, params=1, macs=1)


def test_list_models():
    assert convatlas.list_models("lenet5*") == ["lenet5", "lenet5_modern"]
    assert convatlas.list_models(["*zip*", "alexnet"]) == ["alexnet", "lecun1989_zipcode"]
    assert convatlas.list_models("lenet1989") == ["lecun1989_zipcode"]         # by alias
    assert convatlas.list_models(family="alexnet_owt") == ["alexnet_owt"]
    assert convatlas.list_models("lecun*", max_params=2000) == ["lecun1989_net3", "lecun1989_net4", "lecun1989_net5"]
    assert {"alexnet_owt", "lenet5_modern", "resnet50"} < set(convatlas.list_models(fidelity="field"))
    assert not {"alexnet", "resnet50_v1"} & set(convatlas.list_models(fidelity="field"))
    assert convatlas.list_models("nothing*") == []
    with pytest.raises(ConvatlasError, match="alexnet"):
        convatlas.list_models(family="alexnt")


@pytest.mark.parametrize(("shape", "sentence"), [
    ((1, 1, 20, 20), "too small for lenet5: the least is 32×32"),
    ((1, 3, 32, 32), "takes 1 channel(s), the input has 3"),
    ((1, 32, 32), "(N, C, H, W)"),
])
def test_wrong_inputs_are_explained(shape, sentence):
    import torch

    with pytest.raises(ConvatlasError) as caught:
        convatlas.create_model("lenet5")(torch.zeros(shape))
    assert sentence in str(caught.value)


def test_a_network_of_one_size_says_so():
    import torch

    with pytest.raises(ConvatlasError, match="exactly 16×16"):
        convatlas.create_model("lecun1989_zipcode")(torch.zeros(1, 1, 20, 20))
    with pytest.raises(ConvatlasError, match=r"torch.uint8.*convatlas.transforms"):
        convatlas.create_model("lenet5")(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))


def test_an_error_inside_is_not_blamed_on_the_image():
    import torch

    model = convatlas.create_model("lenet5")
    model.stages[0].c1.weight.data = torch.zeros(6, 2, 5, 5)
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 1, 32, 32))


def test_what_info_prints_of_a_specification_can_be_given_back():
    for name in convatlas.list_models():
        spec = registry.VARIANTS[name].spec
        for field, value in registry.plain(spec).items():
            assert registry.change(spec, assignment(f"{field}={written(value)}")) == spec, (name, field)
    assert written(registry.plain(registry.variant("resnet50").spec)["table"]) == "[bottleneck, 3, 4, 6, 3, 64]"


def test_info_reads_as_a_page():
    page = str(convatlas.info("lenet5"))
    for text in ("Gradient-Based Learning", "stages.1.c3", "TableConv2d", "60,000 parameters", "340,908 connections"):
        assert text in page
    assert convatlas.info("lenet5", num_classes=3, output="linear").params < 60_000 + 84 * 3 + 4
