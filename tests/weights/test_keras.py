"""Keras's .h5 files load: both of its forms, in its own layout, and what computes the same; what is no such file is
refused.
"""

import os
import random
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.net import registry
from convatlas.weights import files, tables
from parity import randomized

h5py = pytest.importorskip("h5py")
PEERS = [(family, peer) for family, library in tables.every() if library == "keras"
         for peer in tables.peers(family, library)]
LIGHT = {"MobileNet-0.25", "MobileNetV2-0.35", "MobileNetV3Small-0.75", "DenseNet121"}
SIZES = {"vgg": 224, "inception_v3": 107, "inception_resnet_v2": 107}
LARGEST = {"ConvNeXtLarge", "ConvNeXtXLarge"}       # gigabytes; their names differ from the others' by one word


# -- files written here, by the rules of Keras told again --------------------------------------------------------------


def separable(spec):
    """MobileNet's layers in Keras: (layer, its class, our module), in order."""
    yield from [("conv1", "conv2d", "stem.conv"), ("conv1_bn", "batch_normalization", "stem.norm")]
    number = 0
    for stage, row in enumerate(spec.table):
        for block in range(row.layers):
            number += 1
            for short, step, kind in (("dw", "depthwise", "depthwise_conv2d"), ("pw", "pointwise", "conv2d")):
                yield f"conv_{short}_{number}", kind, f"stages.{stage}.{block}.{step}.conv"
                yield f"conv_{short}_{number}_bn", "batch_normalization", f"stages.{stage}.{block}.{step}.norm"
    yield "conv_preds", "conv2d", "head.classifier"


def numbers(module, kind):
    """[(variable, array)] of a layer as Keras keeps it."""
    if kind == "batch_normalization":
        return list(zip(("gamma", "beta", "moving_mean", "moving_variance"),
                        (t.numpy() for t in (module.weight.data, module.bias.data, module.running_mean,
                                             module.running_var)), strict=True))
    weight = module.weight.data.numpy()
    if kind == "depthwise_conv2d":
        array = np.stack([np.stack([weight[c, 0, i, :] for c in range(len(weight))], -1)
                          for i in range(weight.shape[2])])[..., None]
    elif isinstance(module, nn.Linear):     # a 1×1 convolution there
        array = weight.T[None, None]
    else:
        array = np.einsum("oihw->hwio", weight)
    bias = [] if module.bias is None else [("bias", module.bias.data.numpy())]
    return [("depthwise_kernel" if kind == "depthwise_conv2d" else "kernel", array), *bias]


def legacy(path, layers, *, style="tf.keras", inside="", **how):
    """[(layer, [(variable, array)])] as `layer_names` and `weight_names`."""
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        root.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, variables in layers:
            group = root.create_group(name)
            called = {"tf.keras": lambda leaf, name=name: f"{name}/{leaf}:0",
                      "keras 3": lambda leaf, name=name: f"{name}/{leaf.removeprefix('depthwise_')}"}[style]
            group.attrs["weight_names"] = [called(leaf).encode() for leaf, _ in variables]
            for leaf, array in variables:
                group.create_dataset(called(leaf), data=array, **how)
        if inside:
            file.attrs["model_config"] = '{"class_name": "Functional"}'
            file.create_group("optimizer_weights").create_dataset("Adam/iteration:0", data=3)


def grouped(path, layers):
    """[(layer, class, [(variable, array)])] as Keras 3's .weights.h5 has them; the file's order is the alphabet's."""
    count = {}
    with h5py.File(path, "w") as file:
        file.create_group("vars").attrs["name"] = "network"
        for name, kind, variables in layers:
            number = count[kind] = count.get(kind, -1) + 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            for i, (_, array) in enumerate(variables):
                group[str(i)] = array
        file.create_group("layers/dropout/seed_generator/vars")["0"] = np.zeros(2, "u4")


@pytest.fixture(scope="module")
def mobilenet():
    torch.manual_seed(0)
    return randomized(convatlas.create_model("mobilenet_v1_025", num_classes=5, act="relu6", padding="same"))


def layers_of(model):
    return [(name, kind, numbers(model.get_submodule(module), kind)) for name, kind, module in separable(model.spec)]


def plain(model):
    return [(name, variables) for name, _, variables in layers_of(model)]


def same(loaded, model):
    report = loaded.card.provenance.report
    assert loaded.spec == model.spec and report.network == model.name and "keras" in report.source
    for name, tensor in model.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(loaded.state_dict()[name], tensor), name
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize("how", [{}, {"style": "keras 3"}, {"inside": "model_weights"},
                                 {"compression": "gzip", "shuffle": True}])
def test_layers_by_names(mobilenet, tmp_path, how):
    legacy(tmp_path / "x.h5", [("input_1", []), *plain(mobilenet)], **how)
    same(convatlas.load(tmp_path / "x.h5"), mobilenet)


def test_layers_by_classes(mobilenet, tmp_path):
    grouped(tmp_path / "x.weights.h5", layers_of(mobilenet))
    same(convatlas.load(tmp_path / "x.weights.h5"), mobilenet)


def test_one_class_is_no_depthwise_layer(tmp_path):
    model = randomized(convatlas.create_model("mobilenet_v1_025", num_classes=1, act="relu6", padding="same"))
    legacy(tmp_path / "x.hdf5", plain(model), style="keras 3")
    same(convatlas.load(tmp_path / "x.hdf5"), model)


def test_half_precision_and_other_byte_order(mobilenet, tmp_path):
    for dtype in ("<f2", ">f4"):
        layers = [(name, [(leaf, array.astype(dtype)) for leaf, array in variables])
                  for name, variables in plain(mobilenet)]
        legacy(tmp_path / "x.h5", layers)
        loaded = convatlas.load(tmp_path / "x.h5")
        torch.testing.assert_close(loaded.stem.conv.weight, mobilenet.stem.conv.weight, rtol=1e-3, atol=1e-3)


def test_many_names_in_pieces(mobilenet, tmp_path):
    """An attribute holds 64 KiB: Keras cuts longer lists."""
    legacy(tmp_path / "x.h5", plain(mobilenet))
    with h5py.File(tmp_path / "x.h5", "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        for i, part in enumerate(np.array_split(names, 3)):
            file.attrs[f"layer_names{i}"] = part
    same(convatlas.load(tmp_path / "x.h5"), mobilenet)


def test_a_bias_before_batchnorm_goes_into_its_mean(tmp_path):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3).double(), randomized(nn.Sequential(nn.BatchNorm2d(4, eps=1e-3)).double())[0]
    legacy(tmp_path / "x.h5", [("a_conv", numbers(conv, "conv2d")), ("b_conv", numbers(conv, "conv2d")),
                               ("a_bn", numbers(norm, "batch_normalization"))])
    found = files.read(tmp_path / "x.h5")
    assert set(found.tensors) == {"a_conv.weight", "b_conv.weight", "b_conv.bias", "a_bn.weight", "a_bn.bias",
                                  "a_bn.running_mean", "a_bn.running_var"}
    assert torch.equal(found.tensors["a_bn.running_mean"], norm.running_mean - conv.bias)
    assert any("1 convolutions have a bias" in note for note in found.notes)
    x, t = torch.randn(2, 3, 9, 9, dtype=torch.float64), found.tensors
    ours = nn.functional.batch_norm(nn.functional.conv2d(x, t["a_conv.weight"]), t["a_bn.running_mean"],
                                    t["a_bn.running_var"], t["a_bn.weight"], t["a_bn.bias"], eps=1e-3)
    torch.testing.assert_close(ours, norm(conv(x)), rtol=0, atol=1e-14)


def test_a_dense_layer_behind_a_flatten(tmp_path):
    """It reads (h, w, c) in Keras; a second one, and one behind a mean, read vectors as they are."""
    torch.manual_seed(0)
    conv, fc1, fc2 = nn.Conv2d(2, 3, 1), nn.Linear(3 * 4 * 5, 6), nn.Linear(6, 3)
    x = torch.randn(2, 2, 4, 5)
    there = fc1.weight.data.view(6, 3, 4, 5).permute(2, 3, 1, 0).reshape(60, 6).numpy()
    dense = [("fc1", "dense", [("kernel", there), ("bias", fc1.bias.data.numpy())]),
             ("fc2", "dense", [("kernel", fc2.weight.data.T.numpy()), ("bias", fc2.bias.data.numpy())])]
    layers = [("conv", "conv2d", numbers(conv, "conv2d")), ("flatten", "flatten", []), *dense]
    legacy(tmp_path / "x.h5", [(name, variables) for name, _, variables in layers])
    grouped(tmp_path / "x.weights.h5", layers)
    for name in ("x.h5", "x.weights.h5"):
        t = files.read(tmp_path / name).tensors
        assert torch.equal(t["fc1.weight"], fc1.weight) and torch.equal(t["fc2.weight"], fc2.weight)
        assert nn.functional.linear(conv(x).flatten(1), t["fc1.weight"], t["fc1.bias"]).equal(fc1(conv(x).flatten(1)))
    legacy(tmp_path / "x.h5", [(name, variables) for name, _, variables in layers if name != "flatten"])
    assert torch.equal(files.read(tmp_path / "x.h5").tensors["fc1.weight"], torch.from_numpy(there).T)


def test_layers_named_by_class_count_from_0_and_norms_without_scale(tmp_path):
    """Whatever was built before in the same program; the order in the file does not matter."""
    rng = np.random.default_rng(0)
    arrays = {i: rng.normal(size=(1, 1, 2, 3)).astype("f4") for i in (2, 9, 11)}
    mean, spread, beta = rng.random((3, 3)).astype("f4")
    legacy(tmp_path / "x.h5", [*((f"conv2d_{i}", [("kernel", arrays[i])]) for i in (11, 2, 9)),
                               ("batch_normalization_7", [("beta", beta), ("moving_mean", mean),
                                                          ("moving_variance", spread)])])
    t = files.read(tmp_path / "x.h5").tensors
    for place, i in enumerate((2, 9, 11)):
        assert np.array_equal(t[f"conv2d_{place}.weight"].numpy(), np.einsum("hwio->oihw", arrays[i]))
    assert (torch.equal(t["batch_normalization_0.weight"], torch.ones(3))
            and t["batch_normalization_0.bias"].tolist() == beta.tolist())


def test_names_of_the_first_keras(tmp_path):
    """'block1_conv1_W_1:0' beside the layer's name."""
    kernel, bias = np.ones((3, 3, 2, 4), "f4"), np.arange(4, dtype="f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1"]
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"block1_conv1_W_1:0", b"block1_conv1_b_1:0"]
        group["block1_conv1_W_1:0"], group["block1_conv1_b_1:0"] = kernel, bias
    found = files.read(tmp_path / "x.h5").tensors
    assert (set(found) == {"block1_conv1.weight", "block1_conv1.bias"}
            and found["block1_conv1.weight"].shape == (4, 2, 3, 3))


# -- what is refused ---------------------------------------------------------------------------------------------------


def refused(path, match):
    with pytest.raises(ConvatlasError, match=match) as caught:
        files.read(path)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_not_paired_by_order(mobilenet, tmp_path):
    legacy(tmp_path / "x.h5", [(f"part_{i}", variables) for i, (_, variables) in enumerate(plain(mobilenet))])
    with pytest.raises(ConvatlasError, match="under names that are known"):
        convatlas.create_model("mobilenet_v1_025", weights=tmp_path / "x.h5", num_classes=5, by_order=True)


def test_damaged_files(mobilenet, tmp_path):
    legacy(tmp_path / "whole.h5", plain(mobilenet))
    whole = (tmp_path / "whole.h5").read_bytes()
    for name, data in {"cut.h5": whole[: len(whole) // 2], "noise.h5": os.urandom(5000), "empty.h5": b"",
                       "head.h5": whole[:8], "tail.h5": whole[:8] + os.urandom(5000)}.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, name.replace(".", r"\."))


def test_changed_bytes_give_a_network_or_a_sentence(mobilenet, tmp_path):
    path, draw = tmp_path / "fuzz.h5", random.Random(0)
    legacy(path, plain(mobilenet)[:6])
    whole, failed = path.read_bytes(), 0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(3):
            at = draw.randrange(8, len(data))
            data[at:at + 2] = draw.randbytes(2)
        path.write_bytes(data)
        try:
            assert files.read(path).tensors
        except ConvatlasError as error:
            assert "fuzz" in str(error) and "\n" not in str(error)
            failed += 1
    assert failed > 10


def one(path, make):
    """A file of one layer whose kernel is whatever `make(group)` puts under its name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = ["kernel"]
        make(group)


@pytest.mark.parametrize(("make", "match"), [
    (lambda group: group.__setitem__("kernel", h5py.ExternalLink("other.h5", "/kernel")),
     "link to elsewhere .ExternalLink"),
    (lambda group: group.__setitem__("kernel", h5py.SoftLink("/b")), "link to elsewhere .SoftLink"),
    (lambda group: None, "'kernel' is missing"),
    (lambda group: group.create_group("kernel"), "no array of plain numbers"),
    (lambda group: group.create_dataset("kernel", data=["text"], dtype=h5py.string_dtype()),
     "no array of plain numbers"),
    (lambda group: group.create_dataset("kernel", (3,), dtype=h5py.ref_dtype), "no array of plain numbers"),
    (lambda group: group.create_dataset("kernel", data=np.zeros(3, [("x", "f4")])), "no array of plain numbers"),
    (lambda group: group.create_dataset("kernel", (2,), "f4", external=[("elsewhere.bin", 0, 8)]),
     "lies in another file"),
    (lambda group: group.create_dataset("kernel", (2**40, 2**10), "f4", chunks=(1024, 1024), compression="gzip"),
     "claims to hold"),
    (lambda group: group.create_dataset("kernel", (1, 1), "f4", chunks=(2**15, 2**14), maxshape=(None, None),
                                        compression="gzip"), "claims to hold"),
], ids=["external", "soft", "missing", "group", "text", "reference", "compound", "elsewhere", "terabytes", "chunk"])
def test_what_is_no_array_of_this_file(tmp_path, make, match):
    one(tmp_path / "x.h5", make)
    refused(tmp_path / "x.h5", rf"x\.h5.*{match}")


def test_virtual_data(tmp_path):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", (4,))
    one(tmp_path / "x.h5", lambda group: group.create_virtual_dataset("kernel", layout))
    refused(tmp_path / "x.h5", "lies in another file")


def test_groups_inside_themselves(tmp_path):
    grouped(tmp_path / "x.weights.h5", [("a", "conv2d", [("kernel", np.zeros((1, 1, 2, 2), "f4"))])])
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        file["layers/conv2d/layers"] = file["layers"]
    refused(tmp_path / "x.weights.h5", "inside itself")


def test_groups_that_do_not_say_their_layers(tmp_path):
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((1, 1, 2, 2), "f4")
    refused(tmp_path / "x.weights.h5", r"does not say which layers.*model\.save\('x\.h5'\)")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path / "y.h5", "neither the attribute 'layer_names'")


def test_two_layers_of_one_name(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = ["a/b", "a_b"]
        for name in ("a/b", "a_b"):
            file.create_group(name).attrs["weight_names"] = ["kernel"]
            file[name]["kernel"] = np.zeros((2, 2), "f4")
    refused(tmp_path / "x.h5", "two tensors 'kernel' of layers called 'a_b'")


def test_without_h5py(mobilenet, tmp_path, monkeypatch):
    legacy(tmp_path / "x.h5", plain(mobilenet))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConvatlasError, match=re.escape("reading .h5 needs h5py: uv pip install -e '.[keras]'")):
        convatlas.load(tmp_path / "x.h5")


# -- Keras itself ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "peer"), [
    pytest.param(family, peer, id=peer.name, marks=[] if peer.name in LIGHT else pytest.mark.slow)
    for family, peer in PEERS if peer.name not in LARGEST])
def test_scores_are_keras_s(family, peer, tmp_path, monkeypatch):
    """In both forms of its files, as near as float32's rounding allows; pip install keras, which the project does not
    need.
    """
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    rng, size = np.random.default_rng(0), SIZES.get(family, 64)
    kwargs = {"include_preprocessing": False} if family in ("mobilenet_v3", "convnext") else {}
    model = getattr(keras.applications, peer.name.partition("-")[0])(
        weights=None, classifier_activation=None, classes=10, input_shape=(size, size, 3), **peer.kwargs, **kwargs)
    for variable in model.weights:
        leaf, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if leaf in ("gamma", "moving_variance") or leaf.startswith("variable"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif leaf in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.1, shape))
        elif leaf == "kernel":
            fan = np.prod(shape[:2] if len(shape) == 4 and shape[3] == 1 else shape[:-1])
            # neither fading nor chaotic
            variable.assign(rng.normal(0, ((1.5 if family == "efficientnet" else 2) / fan) ** 0.5, shape))
    x = rng.normal(size=(2, size, size, 3)).astype("f4")
    with torch.no_grad():
        # which divides by it
        expected = model(torch.from_numpy(x) * (255 if family == "efficientnet" else 1), training=False).cpu()
    spread, largest = (expected[0] - expected[1]).abs().max().item(), expected.abs().max().item()
    assert spread > 1e-4 * largest, "the comparison is blind"
    for name, save in (("x.h5", model.save), ("x.weights.h5", model.save_weights)):
        save(tmp_path / name)
        ours = convatlas.load(tmp_path / name)
        assert ours.card.provenance.report.network == peer.ours
        assert all(getattr(ours.spec, field) == value for field, value in peer.fields.items())
        assert {row.theirs.partition(".")[0] for row in ours.card.provenance.report.rows
                if row.what == "left out"} <= {"normalization_0"}
        pictures = torch.from_numpy(x).permute(0, 3, 1, 2)
        with torch.inference_mode():        # networks that take blue first there take red first here
            scores = ours(pictures.flip(1) if peer.bgr else pictures)
        torch.testing.assert_close(scores, expected, rtol=0, atol=min(1e-3 * largest, 0.05 * spread))
        Path(tmp_path / name).unlink()


@pytest.mark.parametrize(("family", "peer"), dict(PEERS).items(), ids=dict(PEERS))
def test_every_tensor_of_ours_has_a_name_there(family, peer):
    """Some rule of the table ends at each; of each family, its last network."""
    rules = tables.rules(family, "keras", peer.name)
    ends = [re.compile("".join(re.escape(part) if isinstance(part, str) else r"\d+" for part in rule.ours))
            for rule in rules]
    places = weights.blank(lambda: registry.build(peer.ours, peer.fields)).state_dict()
    assert not [name for name in places
                if not any(end.fullmatch(name) or end.fullmatch(name.rpartition(".")[0]) for end in ends)]


@pytest.mark.parametrize("sums", [False, True])
def test_a_chunk_that_unfolds_to_more_than_it_is(tmp_path, sums):
    """HDF5 itself would hold all that a chunk's bytes inflate to."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"], group = [b"a"], file.create_group("a")
        group.attrs["weight_names"] = [b"a/kernel:0"]
        group.create_dataset("a/kernel:0", (8, 8), "f4", np.ones((8, 8), "f4"), chunks=(8, 8), compression="gzip",
                             shuffle=True, fletcher32=sums)
    assert files.read(path).tensors["a.weight"].tolist() == np.ones((8, 8)).tolist()
    with h5py.File(path, "r+") as file:
        file["a/a/kernel:0"].id.write_direct_chunk((0, 0), zlib.compress(bytes(10**5)) + b"1234" * sums)
    with pytest.raises(ConvatlasError, match="unfolds to more than 256 bytes"):
        files.read(path)
