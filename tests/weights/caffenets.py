"""Caffe told again, without Caffe: released networks as lists of layers, what each layer computes, and .caffemodel
files of them in both of its formats, byte by byte.
"""

import math
import struct
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

TYPES_V1 = {"Concat": 3, "Convolution": 4, "Data": 5, "Dropout": 6, "InnerProduct": 14, "LRN": 15, "Pooling": 17,
            "ReLU": 18, "Softmax": 20, "Eltwise": 25, "Deconvolution": 39}


@dataclass
class Layer:
    type: str
    name: str
    bottoms: list
    tops: list
    params: dict = field(default_factory=dict)
    blobs: list = field(default_factory=list)


class Net:
    """Layers in order; numbers are drawn when a layer first sees what it reads."""

    def __init__(self, name="", seed=0):
        self.name, self.layers, self.last = name, [], "data"
        self.dice = torch.Generator().manual_seed(seed)

    def add(self, type, name, *bottoms, top=None, **params):
        bottoms = list(bottoms or [self.last])
        self.last = top or name
        self.layers.append(Layer(type, name, bottoms, [self.last], params))
        return self.last

    def inplace(self, type, name, **params):
        return self.add(type, name, self.last, top=self.last, **params)

    def __call__(self, x):
        """The last layer's output for pictures (N, 3, H, W), in float64."""
        maps = {"data": x}
        for layer in self.layers:
            inputs = [maps[name] for name in layer.bottoms]
            maps[layer.tops[0]] = COMPUTE[layer.type](self, layer, *inputs)
        return maps[self.layers[-1].tops[0]]

    def draw(self, layer, *shapes, spread=1.0):
        """The layer's blobs: float64 that float32 holds exactly; all but the first in steps, which add up exactly."""
        if not layer.blobs:
            first, *rest = (torch.randn(shape, generator=self.dice) for shape in shapes)
            layer.blobs = [first.mul(spread).double(), *(each.mul(25).round().div(256).double() for each in rest)]
        return layer.blobs


def convolution(net, layer, x, transposed=False):
    p = layer.params
    cin, cout, kernel, groups = x.shape[1], p["num_output"], p["kernel_size"], p.get("group", 1)
    sides = (cin, cout // groups) if transposed else (cout, cin // groups)
    shapes = [(*sides, kernel, kernel)] + [(cout,)] * p.get("bias_term", True)
    weight, *bias = net.draw(layer, *shapes, spread=math.sqrt(2 / (cin // groups * kernel**2)))
    run = F.conv_transpose2d if transposed else F.conv2d
    return run(x, weight, bias[0] if bias else None, stride=p.get("stride", 1), padding=p.get("pad", 0), groups=groups)


def inner_product(net, layer, x):
    flat = x.flatten(1)
    weight, bias = net.draw(layer, (layer.params["num_output"], flat.shape[1]), (layer.params["num_output"],),
                            spread=math.sqrt(2 / flat.shape[1]))
    return flat @ weight.T + bias


def batch_norm(net, layer, x):
    """Blobs are sums and the factor that they are divided by; 512, so that it leaves no rounding."""
    channels = x.shape[1]
    if not layer.blobs:
        _, mean = net.draw(layer, (channels,), (channels,))
        spread = torch.rand(channels, generator=net.dice).add(0.5).double()
        layer.blobs = [mean * 512, spread * 512, torch.tensor([512.0], dtype=torch.float64)]
    mean, variance, factor = layer.blobs
    by = (1, -1, 1, 1)
    eps = torch.tensor(layer.params["eps"]).item() if "eps" in layer.params else 1e-5      # a file has it in float32
    return (x - (mean / factor).view(by)) / ((variance / factor).view(by) + eps).sqrt()


def scale(net, layer, x, factors=None):
    if factors is not None:
        return x * factors[:, :, None, None]
    if not layer.blobs and "value" in layer.params:
        layer.blobs = [torch.full((x.shape[1],), layer.params["value"]).double()]
    gamma, *beta = net.draw(layer, (x.shape[1],), (x.shape[1],))
    y = x * gamma.view(1, -1, 1, 1)
    return y + beta[0].view(1, -1, 1, 1) if beta else y


def pooling(net, layer, x):
    """Windows begin inside the picture or its padding, and are cut off where they end outside."""
    p = layer.params
    if p.get("global_pooling"):
        return x.mean((2, 3), keepdim=True)
    kernel, stride, pad = p["kernel_size"], p.get("stride", 1), p.get("pad", 0)
    counts = [math.ceil((side + 2 * pad - kernel) / stride) + 1 for side in x.shape[2:]]
    counts = [count - (pad > 0 and (count - 1) * stride >= side + pad)
              for count, side in zip(counts, x.shape[2:], strict=True)]
    ends = [(count - 1) * stride + kernel - pad - side for count, side in zip(counts, x.shape[2:], strict=True)]

    def windows(maps, fill, before, behind):
        padded = F.pad(maps, (before, behind[1], before, behind[0]), value=fill)
        return padded.unfold(2, kernel, stride).unfold(3, kernel, stride)

    if p.get("pool") != "AVE":
        return windows(x, -math.inf, pad, ends).amax((4, 5))
    inside = F.pad(torch.ones_like(x[:1, :1]), (pad,) * 4, value=1.0)       # a mean is taken over the padding too
    areas = windows(inside, 0.0, 0, [end - pad for end in ends]).sum((4, 5))
    return windows(x, 0.0, pad, ends).sum((4, 5)) / areas


def lrn(net, layer, x):
    size, alpha, beta = layer.params["local_size"], layer.params["alpha"], layer.params["beta"]
    y = torch.empty_like(x)
    for i in range(x.shape[1]):
        near = x[:, max(0, i - size // 2):i + size // 2 + 1]
        y[:, i] = x[:, i] / (layer.params.get("k", 1.0) + alpha / size * near.square().sum(1)) ** beta
    return y


def crop(net, layer, x, like):
    at = layer.params["offset"]
    return x[:, :, at:at + like.shape[2], at:at + like.shape[3]]


COMPUTE = {
    "Convolution": convolution, "InnerProduct": inner_product, "BatchNorm": batch_norm, "Scale": scale,
    "Pooling": pooling, "LRN": lrn, "Crop": crop,
    "Deconvolution": lambda net, layer, x: convolution(net, layer, x, transposed=True),
    "ReLU": lambda net, layer, x: x.clamp(min=0), "Sigmoid": lambda net, layer, x: 1 / (1 + (-x).exp()),
    "Dropout": lambda net, layer, x: x, "Eltwise": lambda net, layer, *xs: sum(xs),
    "Concat": lambda net, layer, *xs: torch.cat(xs, 1), "Reshape": lambda net, layer, x: x.flatten(1),
    "Axpy": lambda net, layer, a, x, y: a * x + y,
}


# -- the networks, with the names of their releases --------------------------------------------------------------------


def vgg(convs):
    net = Net("VGG_ILSVRC_layers")
    for block, (count, width) in enumerate(zip(convs, (64, 128, 256, 512, 512), strict=True), start=1):
        for i in range(1, count + 1):
            net.add("Convolution", f"conv{block}_{i}", num_output=width, kernel_size=3, pad=1)
            net.inplace("ReLU", f"relu{block}_{i}")
        net.add("Pooling", f"pool{block}", kernel_size=2, stride=2)
    return fully_connected(net)


def fully_connected(net, classes=1000):
    for i in (6, 7):
        net.add("InnerProduct", f"fc{i}", num_output=4096)
        net.inplace("ReLU", f"relu{i}")
        net.inplace("Dropout", f"drop{i}")
    net.add("InnerProduct", "fc8", num_output=classes)
    return net


def alexnet(caffenet, pad=0):
    """Two networks with the same tensors."""
    net = Net("CaffeNet" if caffenet else "AlexNet")
    for i, (width, kernel, stride, padding, group) in enumerate(
            ((96, 11, 4, pad, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2)), start=1):
        net.add("Convolution", f"conv{i}", num_output=width, kernel_size=kernel, stride=stride, pad=padding,
                group=group)
        net.inplace("ReLU", f"relu{i}")
        if i < 3 and not caffenet:
            net.add("LRN", f"norm{i}", local_size=5, alpha=1e-4, beta=0.75)
        if i in (1, 2, 5):
            net.add("Pooling", f"pool{i}", kernel_size=3, stride=2)
        if i < 3 and caffenet:
            net.add("LRN", f"norm{i}", local_size=5, alpha=1e-4, beta=0.75)
    return net


GOOGLENET = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
             "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
             "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128),
             "5b": (384, 192, 384, 48, 128, 128)}


def googlenet(classes=1000):
    net = Net("GoogleNet")

    def conv(name, width, kernel, *bottoms, **params):
        net.add("Convolution", name, *bottoms, num_output=width, kernel_size=kernel, pad=kernel // 2, **params)
        head, _, tail = name.rpartition("/")
        return net.inplace("ReLU", f"{head}/relu_{tail}")

    conv("conv1/7x7_s2", 64, 7, stride=2)
    net.add("Pooling", "pool1/3x3_s2", kernel_size=3, stride=2)
    net.add("LRN", "pool1/norm1", local_size=5, alpha=1e-4, beta=0.75)
    conv("conv2/3x3_reduce", 64, 1)
    conv("conv2/3x3", 192, 3)
    net.add("LRN", "conv2/norm2", local_size=5, alpha=1e-4, beta=0.75)
    x = net.add("Pooling", "pool2/3x3_s2", kernel_size=3, stride=2)
    for at, (one, reduce3, three, reduce5, five, proj) in GOOGLENET.items():
        name = f"inception_{at}"
        paths = [conv(f"{name}/1x1", one, 1, x)]
        conv(f"{name}/3x3_reduce", reduce3, 1, x)
        paths.append(conv(f"{name}/3x3", three, 3))
        conv(f"{name}/5x5_reduce", reduce5, 1, x)
        paths.append(conv(f"{name}/5x5", five, 5))
        net.add("Pooling", f"{name}/pool", x, kernel_size=3, stride=1, pad=1)
        paths.append(conv(f"{name}/pool_proj", proj, 1))
        x = net.add("Concat", f"{name}/output", *paths)
        if at in ("4a", "4d"):
            side = f"loss{1 if at == '4a' else 2}"
            net.add("Pooling", f"{side}/ave_pool", pool="AVE", kernel_size=5, stride=3)
            net.add("Convolution", f"{side}/conv", num_output=128, kernel_size=1)
            net.inplace("ReLU", f"{side}/relu_conv")
            net.add("InnerProduct", f"{side}/fc", num_output=1024)
            net.inplace("ReLU", f"{side}/relu_fc")
            net.add("InnerProduct", f"{side}/classifier", num_output=classes)
        if at in ("3b", "4e"):
            x = net.add("Pooling", f"pool{at[0]}/3x3_s2", x, kernel_size=3, stride=2)
    net.add("Pooling", "pool5/7x7_s1", x, pool="AVE", kernel_size=7)
    net.inplace("Dropout", "pool5/drop_7x7_s1")
    net.add("InnerProduct", "loss3/classifier", num_output=classes)
    return net


BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 154: (3, 8, 36, 3)}


def resnet(depth, classes=1000):
    """The first convolution of the ResNet-50 has a bias, the others' has none; all stride in the first 1×1."""
    net = Net(f"ResNet-{depth}")

    def conv(name, norm, width, kernel, *bottoms, relu=True, bias_term=False, **params):
        net.add("Convolution", name, *bottoms, num_output=width, kernel_size=kernel, pad=kernel // 2,
                bias_term=bias_term, **params)
        net.inplace("BatchNorm", f"bn{norm}")
        net.inplace("Scale", f"scale{norm}")
        return net.inplace("ReLU", f"{name}_relu") if relu else net.last

    conv("conv1", "_conv1", 64, 7, stride=2, bias_term=depth == 50)
    x = net.add("Pooling", "pool1", kernel_size=3, stride=2)
    for stage, count in enumerate(BLOCKS[depth], start=2):
        width, numbered = 16 * 2**stage, depth > 50 and stage in (3, 4)
        for i in range(count):
            block = f"{stage}{'a' if i == 0 else f'b{i}' if numbered else 'abcdef'[i]}"
            stride = 2 if i == 0 and stage > 2 else 1
            way = x if i else conv(f"res{block}_branch1", f"{block}_branch1", 4 * width, 1, x, relu=False,
                                   stride=stride)
            conv(f"res{block}_branch2a", f"{block}_branch2a", width, 1, x, stride=stride)
            conv(f"res{block}_branch2b", f"{block}_branch2b", width, 3)
            branch = conv(f"res{block}_branch2c", f"{block}_branch2c", 4 * width, 1, relu=False)
            net.add("Eltwise", f"res{block}", way, branch)
            x = net.inplace("ReLU", f"res{block}_relu")
    net.add("Pooling", "pool5", pool="AVE", kernel_size=7)
    net.add("InnerProduct", "fc1000", num_output=classes)
    return net


def normalised(net, name, width, kernel, *bottoms, relu="", **params):
    """Convolution, BatchNorm, Scale (, ReLU) as SENet's releases call them."""
    net.add("Convolution", name, *bottoms, num_output=width, kernel_size=kernel, pad=kernel // 2, bias_term=False,
            **params)
    net.inplace("BatchNorm", f"{name}/bn")
    net.inplace("Scale", f"{name}/bn/scale")
    return net.inplace("ReLU", relu) if relu else net.last


def gate(net, name, x, channels):
    net.add("Pooling", f"{name}_global_pool", x, pool="AVE", global_pooling=True)
    net.add("Convolution", f"{name}_1x1_down", num_output=channels // 16, kernel_size=1)
    net.inplace("ReLU", f"{name}_1x1_down/relu")
    net.add("Convolution", f"{name}_1x1_up", num_output=channels, kernel_size=1)
    return net.inplace("Sigmoid", f"{name}_prob")


def se_resnet(depth, groups=1, classes=1000):
    """SE-ResNet: the first 1×1 strides; SE-ResNeXt and SENet-154: the 3×3."""
    net = Net("SENet" if depth == 154 else f"SE-ResNe{'X' if groups > 1 else ''}t-{depth}")
    if depth == 154:
        for i, (kind, width) in enumerate((("3x3_s2", 64), ("3x3", 64), ("3x3", 128)), start=1):
            normalised(net, f"conv1_{i}/{kind}", width, 3, relu=f"conv1_{i}/relu_{kind}", stride=2 if i == 1 else 1)
    else:
        normalised(net, "conv1/7x7_s2", 64, 7, relu="conv1/relu_7x7_s2", stride=2)
    x = net.add("Pooling", "pool1/3x3_s2", kernel_size=3, stride=2)
    for stage, count in enumerate(BLOCKS[depth], start=2):
        planes = 16 * 2**stage
        wide = planes if groups == 1 else 2 * planes if depth < 154 else 4 * planes
        for i in range(1, count + 1):
            name, stride = f"conv{stage}_{i}", 2 if i == 1 and stage > 2 else 1
            first, second = (stride, 1) if groups == 1 else (1, stride)
            normalised(net, f"{name}_1x1_reduce", wide // 2 if depth == 154 else wide, 1, x,
                       relu=f"{name}_1x1_reduce/relu", stride=first)
            normalised(net, f"{name}_3x3", wide, 3, relu=f"{name}_3x3/relu", stride=second, group=groups)
            branch = normalised(net, f"{name}_1x1_increase", 4 * planes, 1)
            factors = gate(net, name, branch, 4 * planes)
            if i == 1:
                x = normalised(net, f"{name}_1x1_proj", 4 * planes, 3 if depth == 154 and stage > 2 else 1, x,
                               stride=stride)
            net.add("Axpy", name, factors, branch, x)
            x = net.inplace("ReLU", f"{name}/relu")
    net.add("Pooling", "pool5/7x7_s1", x, pool="AVE", kernel_size=7)
    net.add("InnerProduct", "classifier", num_output=classes)
    return net


SE_BN_INCEPTION = {     # 1×1, 3×3 reduce, 3×3, stacked reduce, stacked, projection; 0: none
    "3a": (64, 64, 64, 64, 96, 32), "3b": (64, 64, 96, 64, 96, 64), "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128), "4b": (192, 96, 128, 96, 128, 128), "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128), "4e": (0, 128, 192, 192, 256, 0), "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128)}


def se_bn_inception(classes=1000):
    net = Net("SE-BN-Inception")

    def conv(name, *rest, **params):
        head, _, tail = name.rpartition("/")
        return normalised(net, name, *rest, relu=f"{head}/relu_{tail}", **params)

    conv("conv1/7x7_s2", 64, 7, stride=2)
    net.add("Pooling", "pool1/3x3_s2", kernel_size=3, stride=2)
    conv("conv2/3x3_reduce", 64, 1)
    conv("conv2/3x3", 192, 3)
    x, cin = net.add("Pooling", "pool2/3x3_s2", kernel_size=3, stride=2), 192
    for at, (one, reduce3, three, reduce33, stacked, proj) in SE_BN_INCEPTION.items():
        name, stride = f"inception_{at}", 1 if one else 2
        paths = [conv(f"{name}/1x1", one, 1, x)] if one else []
        conv(f"{name}/3x3_reduce", reduce3, 1, x)
        paths.append(conv(f"{name}/3x3", three, 3, stride=stride))
        conv(f"{name}/double3x3_reduce", reduce33, 1, x)
        conv(f"{name}/double3x3a", stacked, 3)
        paths.append(conv(f"{name}/double3x3b", stacked, 3, stride=stride))
        if one:
            kind = {} if at == "5b" else {"pool": "AVE"}
            net.add("Pooling", f"{name}/pool", x, kernel_size=3, stride=1, pad=1, **kind)
            paths.append(conv(f"{name}/pool_proj", proj, 1))
        else:
            paths.append(net.add("Pooling", f"{name}/pool/3x3_s2", x, kernel_size=3, stride=2))
        cin = one + three + stacked + (proj or cin)
        joined = net.add("Concat", f"{name}/concat", *paths)
        gate(net, name, joined, cin)
        factors = net.add("Reshape", f"{name}_prob_reshape")
        x = net.add("Scale", f"{name}_scale", joined, factors, top=f"{name}/output")
    net.add("Pooling", "pool5/7x7_s1", pool="AVE", kernel_size=7)
    net.add("InnerProduct", "classifier", num_output=classes)
    return net


def fcn(stride, at_once=False):
    """The voc-fcn networks on VGG-16; stride 0: voc-fcn-alexnet."""
    if stride:
        net = Net()
        for block, (count, width) in enumerate(zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True), start=1):
            for i in range(1, count + 1):
                net.add("Convolution", f"conv{block}_{i}", num_output=width, kernel_size=3,
                        pad=100 if (block, i) == (1, 1) else 1)
                net.inplace("ReLU", f"relu{block}_{i}")
            net.add("Pooling", f"pool{block}", kernel_size=2, stride=2)
    else:
        net = alexnet(caffenet=True, pad=100)
        net.name = ""
    for name, kernel in (("6", 7 if stride else 6), ("7", 1)):
        net.add("Convolution", f"fc{name}", num_output=4096, kernel_size=kernel)
        net.inplace("ReLU", f"relu{name}")
        net.inplace("Dropout", f"drop{name}")
    net.add("Convolution", "score_fr", num_output=21, kernel_size=1)
    for step, (block, factor, at) in enumerate(((4, 0.01, 5), (3, 0.0001, 9))[:{16: 1, 8: 2}.get(stride, 0)]):
        up = net.add("Deconvolution", "upscore2" if step == 0 else "upscore_pool4", num_output=21, kernel_size=4,
                     stride=2, bias_term=False)
        skip = f"pool{block}"
        if at_once:
            skip = net.add("Scale", f"scale_pool{block}", skip, value=factor)
        net.add("Convolution", f"score_pool{block}", skip, num_output=21, kernel_size=1)
        cropped = net.add("Crop", f"score_pool{block}c", f"score_pool{block}", up, offset=at)
        net.add("Eltwise", f"fuse_pool{block}", up, cropped)
    name, kernel, at = {32: ("upscore", 64, 19), 16: ("upscore16", 32, 27), 8: ("upscore8", 16, 31),
                        0: ("upscore", 63, 18)}[stride]
    up = net.add("Deconvolution", name, num_output=21, kernel_size=kernel, stride=stride or 32, bias_term=False)
    net.add("Crop", "score", up, "data", offset=at)
    return net


# -- files -------------------------------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields):
    """The bytes of (number, value): whole numbers, floats, text or bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, float):
            parts += [varint(number << 3 | 5), struct.pack("<f", value)]
        elif isinstance(value, int):
            parts += [varint(number << 3), varint(value)]
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += [varint(number << 3 | 2), varint(len(data)), data]
    return b"".join(parts)


def blob(tensor, old=False, shape=None, doubles=False):
    """The old form has four sides, the unused first ones 1."""
    shape = tuple(tensor.shape) if shape is None else shape
    numbers = (8, tensor.double().numpy().tobytes()) if doubles else (5, tensor.float().numpy().tobytes())
    if old:
        return message(*enumerate((1,) * (4 - len(shape)) + shape, start=1), numbers)
    return message(numbers, (7, message((1, b"".join(map(varint, shape))))))


def parameters(layer, old=False):
    """[(number, bytes)] of a layer's own parameters."""
    p = layer.params
    if layer.type in ("Convolution", "Deconvolution"):
        keys = {"num_output": 1, "bias_term": 2, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "dilation": 18}
        number = 10 if old else 106
    elif layer.type == "LRN":
        keys, number = {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5}, 18 if old else 118
    elif layer.type == "Pooling":
        keys, number = {"pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "global_pooling": 12}, 19 if old else 121
    elif layer.type == "BatchNorm":
        keys, number = {"eps": 3}, 139
    elif layer.type == "InnerProduct":
        keys, number = {"num_output": 1, "transpose": 6}, 17 if old else 117
    else:
        return []
    value = {"AVE": 1, "MAX": 0}
    return [(number, message(*((key, value.get(p[name], p[name])) for name, key in keys.items() if name in p)))]


def encoded(layer, old=False, **how):
    blobs = [blob(each, old, **how) for each in layer.blobs]
    if old:
        return message(*((2, name) for name in layer.bottoms), *((3, name) for name in layer.tops), (4, layer.name),
                       (5, TYPES_V1[layer.type]), *((6, each) for each in blobs), *parameters(layer, old))
    return message((1, layer.name), (2, layer.type), *((3, name) for name in layer.bottoms),
                   *((4, name) for name in layer.tops), *((7, each) for each in blobs), *parameters(layer))


def write(path, net, old=False, **how):
    """The network as Caffe would save it."""
    with path.open("wb") as file:
        file.write(message((1, net.name)))
        for layer in net.layers:
            file.write(message((2 if old else 100, encoded(layer, old, **how))))
    return path
