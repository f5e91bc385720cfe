"""Caffe's releases load from .caffemodel files written here, and give the scores of its own layers on blue-first
pictures; what is no such file, or computes something else, is refused.
"""

import math
import random
from types import SimpleNamespace

import caffenets
import pytest
import torch
from caffenets import Layer, Net, blob, encoded, message, write

import convatlas
from convatlas import ConvatlasError
from convatlas.weights import caffe, files, tables

pytest.importorskip("google.protobuf")

#  release: its network, the format it was given away in, the side of its pictures, ours
RELEASES = {
    "VGG_ILSVRC_16_layers": (lambda: caffenets.vgg((2, 2, 3, 3, 3)), True, 224, "vgg16"),
    "VGG_ILSVRC_19_layers": (lambda: caffenets.vgg((2, 2, 4, 4, 4)), True, 224, "vgg19"),
    "AlexNet": (lambda: caffenets.fully_connected(caffenets.alexnet(False)), True, 227, "alexnet"),
    "CaffeNet": (lambda: caffenets.fully_connected(caffenets.alexnet(True)), True, 227, "alexnet"),
    "GoogleNet": (caffenets.googlenet, True, 224, "googlenet"),
    **{f"ResNet-{depth}": (lambda depth=depth: caffenets.resnet(depth), False, 201, f"resnet{depth}_v1")
       for depth in (50, 101, 152)},
    **{f"SE-ResNet-{depth}": (lambda depth=depth: caffenets.se_resnet(depth), False, 201, f"se_resnet{depth}_v1")
       for depth in (50, 101, 152)},
    **{f"SE-ResNeXt-{depth}": (lambda depth=depth: caffenets.se_resnet(depth, 32), False, 201,
                               f"se_resnext{depth}_32x4d_v1") for depth in (50, 101)},
    "SENet-154": (lambda: caffenets.se_resnet(154, 64), False, 201, "senet154"),
    "SE-BN-Inception": (caffenets.se_bn_inception, False, 224, "se_bn_inception_v1"),
    "voc-fcn32s": (lambda: caffenets.fcn(32), False, 39, "fcn32s_vgg16"),
    "voc-fcn16s": (lambda: caffenets.fcn(16), False, 39, "fcn16s_vgg16"),
    "voc-fcn8s": (lambda: caffenets.fcn(8), False, 39, "fcn8s_vgg16"),
    "voc-fcn8s-atonce": (lambda: caffenets.fcn(8, at_once=True), False, 39, "fcn8s_vgg16"),
    "voc-fcn-alexnet": (lambda: caffenets.fcn(0), False, 39, "fcn32s_caffenet"),
}
QUICK = {"ResNet-50"}


def test_every_network_of_the_tables_is_one_of_these():
    peers = [peer for family, library in tables.every() if library == "caffe" for peer in tables.peers(family, library)]
    assert {peer.name: peer.ours for peer in peers} == {name: ours for name, (*_, ours) in RELEASES.items()}
    assert all(peer.bgr and peer.releases[0].source for peer in peers)


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in RELEASES])
def test_a_release_computes_what_its_layers_do(name, tmp_path):
    make, old, side, ours = RELEASES[name]
    net, pictures = make(), torch.rand(1, 3, side, side, dtype=torch.float64)
    theirs = net(pictures.flip(1))
    model = convatlas.load(write(tmp_path / "x.caffemodel", net, old)).double()
    assert model.name == ours
    with torch.inference_mode():
        scores = model(pictures)
    torch.testing.assert_close(scores, theirs, rtol=0, atol=1e-8 * theirs.abs().max().item())
    report, prepared = model.card.provenance.report, model.card.preprocess
    assert f"caffe's {name}" in report.source and any("takes red, green, blue" in row.why for row in report.rows)
    assert not [row for row in report.rows if row.what == "kept"]
    assert prepared.std == pytest.approx((1 / 255,)) and 102 < 255 * prepared.mean[2] < 105 < 255 * prepared.mean[0]


# -- what is done to tensors -------------------------------------------------------------------------------------------


def small(eps=None, bias=True):
    """Convolution, BatchNorm, Scale, ReLU, fully connected."""
    net = Net("small")
    net.add("Convolution", "conv", num_output=4, kernel_size=3, bias_term=bias)
    net.inplace("BatchNorm", "bn", **({} if eps is None else {"eps": eps}))
    net.inplace("Scale", "scale")
    net.inplace("ReLU", "relu")
    net.add("InnerProduct", "fc", num_output=5)
    net(torch.rand(2, 3, 6, 6, dtype=torch.float64))
    return net


@pytest.mark.parametrize(("eps", "bias"), [(None, False), (None, True), (1e-3, True), (1e-9, False)])
def test_batch_normalisation_and_scale_are_one(eps, bias, tmp_path):
    net, x = small(eps, bias), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    found = files.read(write(tmp_path / "x.caffemodel", net, doubles=True))
    t = found.tensors
    assert set(t) == {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "fc.weight",
                      "fc.bias"}
    y = torch.nn.functional.conv2d(x, t["conv.weight"])
    y = torch.nn.functional.batch_norm(y, t["bn.running_mean"], t["bn.running_var"], t["bn.weight"], t["bn.bias"],
                                       eps=1e-5).relu().flatten(1)
    torch.testing.assert_close(y @ t["fc.weight"].T + t["fc.bias"], net(x), rtol=0, atol=1e-12)
    assert (bias, eps is not None) == tuple(any(word in note for note in found.notes) for word in ("bias", "epsilon"))


def test_numbers_in_several_runs_of_bytes_and_names_that_are_no_text(tmp_path):
    numbers = torch.arange(6.0)
    pieces = message((5, numbers[:2].numpy().tobytes()), (5, numbers[2:].numpy().tobytes()),
                     (7, message((1, b"\x02\x03"))))
    layer = message((1, b"caf\xe9"), (2, "InnerProduct"), (7, pieces), (117, message((6, 1))))
    (tmp_path / "x.caffemodel").write_bytes(message((100, layer)))
    (name, tensor), = files.read(tmp_path / "x.caffemodel").tensors.items()
    assert name == "caf\udce9.weight" and tensor.tolist() == [[0, 3], [1, 4], [2, 5]], "transposed, as the layer says"


def test_protobufs_own_writer(tmp_path):
    """Messages whose numbers are declared as floats."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="t", syntax="proto2")
    for name, fields in {"Shape": [("dim", 1, kind.TYPE_INT64)], "Blob": [("shape", 7, ".t.Shape"),
                                                                          ("data", 5, kind.TYPE_FLOAT)],
                         "Layer": [("name", 1, kind.TYPE_STRING), ("type", 2, kind.TYPE_STRING),
                                   ("blobs", 7, ".t.Blob")],
                         "Net": [("name", 1, kind.TYPE_STRING), ("layer", 100, ".t.Layer")]}.items():
        added = file.message_type.add(name=name)
        for field, number, what in fields:
            single = (name, field) in (("Net", "name"), ("Layer", "name"), ("Layer", "type"), ("Blob", "shape"))
            one = added.field.add(name=field, number=number, label=kind.LABEL_OPTIONAL if single
                                  else kind.LABEL_REPEATED)
            if isinstance(what, str):
                one.type, one.type_name = kind.TYPE_MESSAGE, what
            else:
                one.type = what
            one.options.packed = field in ("dim", "data")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    net = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Net"))(name="n")
    layer = net.layer.add(name="fc", type="InnerProduct")
    layer.blobs.add(data=range(6)).shape.dim.extend([2, 3])
    layer.blobs.add(data=[1, 2]).shape.dim.extend([2])
    (tmp_path / "x.caffemodel").write_bytes(net.SerializeToString())
    found = files.read(tmp_path / "x.caffemodel")
    assert found.tensors["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]] and found.tensors["fc.bias"].tolist() == [1, 2]
    assert found.meta["arch"] == "n"


def test_what_no_tensor_tells_is_read_off_the_layers():
    fields = {}
    for caffenet in (False, True):
        net, layers = caffenets.alexnet(caffenet), []
        for layer in net.layers:
            source = next((other for other in reversed(layers) if layer.bottoms[0] in other.tops), None)
            layers.append(SimpleNamespace(type=layer.type, tops=layer.tops, source=source))
        fields[caffenet] = caffe.Contents({}, "", tuple(layers), ()).fields
    assert fields == {False: {"lrn": "caffe", "fusion": "staged"}, True: {"lrn": "caffenet", "fusion": "staged"}}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "change", "match"), [
    ("conv1/7x7_s2", {"stride": 4}, "stride, padding, dilation and groups of 'conv1/7x7_s2' is"),
    ("inception_4c/3x3", {"pad": 2}, "of 'inception_4c/3x3' is"),
    ("conv2/3x3", {"dilation": 2}, "of 'conv2/3x3' is"),
    ("pool1/norm1", {"k": 2.0}, "response normalisation is"), ("conv2/norm2", {"alpha": 1e-3}, "normalisation is"),
    ("conv2/norm2", {"norm_region": 1}, "normalisation is"),
    ("pool1/3x3_s2", {"pad": 1}, "max-pools"), ("pool3/3x3_s2", {"kernel_size": 2}, "max-pools"),
    ("pool5/7x7_s1", {"pool": "MAX"}, "max-pools")])
def test_a_network_of_the_same_names_that_computes_something_else(name, change, match, googlenet, tmp_path):
    layer = next(layer for layer in googlenet.layers if layer.name == name)
    was, layer.params = layer.params, layer.params | change
    try:
        write(tmp_path / "x.caffemodel", googlenet, old=True)
    finally:
        layer.params = was
    found = files.read(tmp_path / "x.caffemodel")
    with torch.device("meta"):
        model = convatlas.create_model("googlenet")
    pairs = {"conv1/7x7_s2.weight": "stem.conv1.conv.weight", "conv2/3x3.weight": "stages.0.conv2.conv.weight",
             "inception_4c/3x3.weight": "stages.3.inception_4c.three.conv.conv.weight"}
    with pytest.raises(ConvatlasError, match=match):
        caffe.check("x", found.layers, model, pairs)


@pytest.fixture(scope="module")
def googlenet():
    """Without numbers but one: only what layers say of themselves is looked at."""
    net = caffenets.googlenet()
    net.layers[0].blobs = [torch.zeros(1)]
    return net


def whole(layer):
    return message((100, layer))


CONV = Layer("InnerProduct", "fc", ["data"], ["fc"], {}, [torch.arange(6.0).view(2, 3)])
NORM = [torch.zeros(2), torch.ones(2), torch.ones(1)]


@pytest.mark.parametrize(("data", "match"), [
    (b"", "holds no layer with numbers"), (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a readable .caffemodel"),
    (b"<!DOCTYPE html><html>Not found</html>", "not a readable .caffemodel"),
    (whole(encoded(CONV))[:-5], "ends inside a field"), (message((100, b""))[:2] + b"\xff" * 9, "ends|cut off"),
    (b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends inside a field that claims"),
    (b"\xa2\x06" + b"\xff" * 12, "cut off, or damaged"), (b"\x0b\x0c", "unknown kind"),
    (whole(message((1, "a"), (2, "InnerProduct"), (7, message((7, message((1, b"\x05\x05"))))))), "take 0 bytes"),
    (whole(message((1, "a"), (7, blob(torch.zeros(6), shape=(2, 2))))), "shape 2×2 and take 24 bytes"),
    (whole(message((1, "a"), (7, blob(torch.zeros(6), shape=(2**62, 2**62))))), "claim the shape"),
    (whole(message((1, "a"), (7, message((5, bytes(8)), (7, message((1, b"\xff" * 9 + b"\x01"))))))), "shape -1"),
    (whole(message((1, "a"), (7, message((5, bytes(4)), (8, bytes(8)), (7, message((1, b"\x01"))))))), "claim"),
    (whole(encoded(CONV)) * 2, "several layers called 'fc'"),
    (b"\x18\x01" * 50_001, "more than 50,000 fields"), (whole(b"\x1a\x00" * 50_001), "more than 50,000 fields"),
    (whole(message((1, "a" * 2**22))), "bytes beside its numbers"),
    (whole(message((2, "Pooling"), (121, b"\xff"))), "cannot be decoded"),
    (whole(encoded(Layer("BatchNorm", "bn", ["x"], ["x"], {}, NORM[:2]))), "BatchNorm 'bn' of 2 blobs"),
    (whole(encoded(Layer("BatchNorm", "bn", ["x"], ["x"], {}, [*NORM[:2], torch.zeros(1)]))), "has seen no image"),
    (message((2, message((1, message((1, "conv1"), (50, blob(torch.ones(2)))))))), "upgrade_net_proto_binary")])
def test_damaged_and_hostile_files(data, match, tmp_path):
    (tmp_path / "bad.caffemodel").write_bytes(data)
    with pytest.raises(ConvatlasError, match=match) as caught:
        files.read(tmp_path / "bad.caffemodel")
    assert "\n" not in str(caught.value) and "bad.caffemodel" in str(caught.value)


def test_changed_bytes_give_tensors_or_a_sentence(tmp_path):
    path, draw, failed = tmp_path / "fuzz.caffemodel", random.Random(0), 0
    whole_file = write(path, small()).read_bytes()
    for _ in range(150):
        data = bytearray(whole_file)
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[:draw.randrange(len(data))] if draw.random() < 0.3 else data)
        try:
            tensors = files.read(path).tensors
            assert sum(math.prod(tensor.shape) for tensor in tensors.values()) < len(whole_file)
        except ConvatlasError as error:
            assert "fuzz" in str(error) and "\n" not in str(error)
            failed += 1
    assert 25 < failed < 150


def test_a_few_classes_and_a_side_that_is_missing(tmp_path):
    """A GoogLeNet that somebody trained on, and saved for use: without side classifiers, so drawn anew."""
    net = caffenets.googlenet(classes=7)
    net.layers = [layer for layer in net.layers if not layer.name.startswith(("loss1", "loss2"))]
    x = torch.rand(1, 3, 224, 224, dtype=torch.float64)
    theirs = net(x.flip(1))
    model = convatlas.load(write(tmp_path / "x.caffemodel", net)).double()
    with torch.inference_mode():
        torch.testing.assert_close(model(x), theirs, rtol=1e-9, atol=1e-9)
    assert model.num_classes == 7 and {row.ours.split(".")[0] for row in model.card.provenance.report.rows
                                       if row.what == "kept"} == {"aux"}

    next(layer for layer in net.layers if layer.name == "inception_3a/5x5").params["dilation"] = 2
    with pytest.raises(ConvatlasError, match=r"another network than 'googlenet', .* of 'inception_3a/5x5' is"):
        convatlas.load(write(tmp_path / "x.caffemodel", net))
