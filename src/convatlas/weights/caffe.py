"""Tensors of Caffe's .caffemodel files, as `layer.leaf` and in PyTorch's layout; protobuf is imported only here.

Such a file is one message, a NetParameter: layers (field 100; in files of before 2015 field 2, another message) that
name what they read and write and hold blobs of numbers. protobuf reads what the layers say, by the few messages below;
their numbers, which it would hold three times, are found by walking through the lengths and read once, in place. Beside
the tensors comes what the layers do (`Layer`), so that a network of the same names that computes another function is
refused (`check`).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from os import fstat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError, installing
from ..parts import LocalResponseNorm, SameMaxPool2d

NET, NET_V1 = 100, 2                # fields of the file: layers, and layers as they were before 2015
BLOBS, BLOBS_V1 = 7, 6              # fields of those: their numbers
DATA, DOUBLES = 5, 8                # fields of a blob: its float32, or its float64
TYPES_V1 = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 39: "Deconvolution"}
MANY = 50_000       # fields in all; ResNet-152 has some 15 000
WORDS = 2**22       # bytes in all of what layers say of themselves; ResNet-152 needs 100 KiB
EPS = 1e-5          # of Caffe's BatchNorm, unless a layer says otherwise

#  message: field → (number, type, repeated), of those that are looked at
SCHEMA: Mapping[str, Mapping[str, tuple[int, str, bool]]] = {
    "Shape": {"dim": (1, "int64", True)},
    "Blob": {"num": (1, "int32", False), "channels": (2, "int32", False), "height": (3, "int32", False),
             "width": (4, "int32", False), "shape": (7, "Shape", False)},
    "Convolution": {"pad": (3, "uint32", True), "group": (5, "uint32", False), "stride": (6, "uint32", True),
                    "pad_h": (9, "uint32", False), "pad_w": (10, "uint32", False),
                    "stride_h": (13, "uint32", False), "stride_w": (14, "uint32", False),
                    "dilation": (18, "uint32", True)},
    "InnerProduct": {"transpose": (6, "bool", False)},
    "LRN": {"local_size": (1, "uint32", False), "alpha": (2, "float", False), "beta": (3, "float", False),
            "norm_region": (4, "int32", False), "k": (5, "float", False)},
    "Pooling": {"pool": (1, "int32", False), "kernel_size": (2, "uint32", False), "stride": (3, "uint32", False),
                "pad": (4, "uint32", False), "kernel_h": (5, "uint32", False), "stride_h": (7, "uint32", False),
                "pad_h": (9, "uint32", False)},
    "BatchNorm": {"eps": (3, "float", False)},
    "Layer": {"name": (1, "bytes", False), "type": (2, "bytes", False), "bottom": (3, "bytes", True),
              "top": (4, "bytes", True), "convolution": (106, "Convolution", False),
              "inner_product": (117, "InnerProduct", False), "lrn": (118, "LRN", False),
              "pooling": (121, "Pooling", False), "batch_norm": (139, "BatchNorm", False)},
    "LayerV1": {"name": (4, "bytes", False), "type": (5, "int32", False), "bottom": (2, "bytes", True),
                "top": (3, "bytes", True), "convolution": (10, "Convolution", False),
                "inner_product": (17, "InnerProduct", False), "lrn": (18, "LRN", False),
                "pooling": (19, "Pooling", False)},
}


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of the file."""

    name: str
    type: str                   # as Caffe calls it since 2015
    said: Any                   # its message
    blobs: tuple[Tensor, ...]
    source: "Layer | None"      # the one that wrote what it reads first

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        """A convolution's stride, padding, dilation (each high, wide) and groups."""
        told = self.said.convolution
        stride = (told.stride_h, told.stride_w) if told.stride_h else _two(told.stride, 1)
        pad = (told.pad_h, told.pad_w) if told.pad_h or told.pad_w else _two(told.pad, 0)
        return stride, pad, _two(told.dilation, 1), (told.group or 1,)

    @property
    def response(self) -> tuple[float, ...]:
        """A response normalisation's size, α, β, k, and 0 if it goes over the maps."""
        told = self.said.lrn
        usual = {"local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0, "norm_region": 0}
        return tuple(getattr(told, name) if told.HasField(name) else value for name, value in usual.items())

    @property
    def pool(self) -> tuple[int, ...] | None:
        """A max-pool's kernel, stride and padding; None of any other."""
        told = self.said.pooling
        return (told.kernel_size or told.kernel_h, told.stride or told.stride_h or 1,
                told.pad or told.pad_h) if self.type == "Pooling" and told.pool == 0 else None


class Field(NamedTuple):
    """A field of a message."""

    number: int
    wire: int           # of the value: 0 a number of any length, 1 eight bytes, 2 a length and as many bytes, 5 four
    start: int          # of the field itself
    begin: int          # of its value, from there to `end`
    end: int


class _Walk:
    """The fields of a message between two places of a file, none of which may lead beyond it."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.file, self.where, self.left = file, where, MANY

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        while begin < end:
            self.left -= 1
            if self.left < 0:
                raise self.refused(f"has more than {MANY:,} fields")
            key, place = self.number(begin, end)
            wire, size = key & 7, 0
            if wire == 0:
                _, stop = self.number(place, end)
            elif wire == 2:
                size, place = self.number(place, end)
                stop = place + size
            elif wire in (1, 5):
                stop = place + (8 if wire == 1 else 4)
            else:
                raise self.refused(f"has a field of an unknown kind at byte {begin:,}")
            if stop > end:
                raise self.refused(f"ends inside a field that claims {stop - place:,} bytes at byte {begin:,}")
            yield Field(key >> 3, wire, begin, place, stop)
            begin = stop

    def number(self, begin: int, end: int) -> tuple[int, int]:
        """(a number of any length, where it ends)."""
        data = self.bytes(begin, min(end, begin + 10))
        value = 0
        for i, byte in enumerate(data):
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                return value, begin + i + 1
        raise self.refused(f"is cut off, or damaged, at byte {begin:,}")

    def bytes(self, begin: int, end: int) -> bytes:
        self.file.seek(begin)
        return self.file.read(end - begin)

    def refused(self, why: str) -> ConvatlasError:
        return ConvatlasError(f"{self.where!r} is not a readable .caffemodel file: it {why}")


class Contents(NamedTuple):
    """The contents of a file."""

    tensors: dict[str, Tensor]
    network: str                # as the file calls it
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]      # what was done to the tensors

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of our specifications that no tensor tells, for whom they concern.

        AlexNet normalises before its pools, CaffeNet behind them; FCN-8s at once scales the maps that it scores.
        """
        behind = {layer.source.type for layer in self.layers if layer.type == "LRN" and layer.source}
        scaled = any(layer.type == "Scale" and layer.source and layer.source.type == "Pooling" for layer in self.layers)
        return {"lrn": "caffenet" if behind == {"Pooling"} else "caffe", "fusion": "at_once" if scaled else "staged"}


def read(path: Path) -> Contents:
    """The file's tensors and layers.

    Fully connected layers become (cout, cin). A BatchNorm's statistics are divided by its factor, and it takes up the
    Scale behind it; its name stays. The bias of a convolution before it goes into its mean, an epsilon other than 10⁻⁵
    into its variance. Raises ConvatlasError for a damaged file, more than 50 000 fields, and numbers that do not fill
    their shape.
    """
    try:
        messages()
    except ImportError as error:
        raise ConvatlasError(f"reading .caffemodel needs protobuf: {installing('caffe')}") from error
    with path.open("rb") as file:
        walk = _Walk(file, str(path))
        title, layers = _layers(walk, fstat(file.fileno()).st_size)
    if not any(layer.blobs for layer in layers):
        raise walk.refused("holds no layer with numbers (what Caffe wrote before 2014 is brought up to date by its "
                           "upgrade_net_proto_binary)")
    twice = [name for name, count in Counter(layer.name for layer in layers if layer.blobs).items() if count > 1]
    if twice:
        raise walk.refused(f"has several layers called {twice[0]!r}")
    tensors, notes = _converted(layers, walk)
    return Contents(tensors, title, tuple(layers), notes)


@cache
def messages() -> Mapping[str, Any]:
    """Classes of SCHEMA's messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="convatlas/caffe.proto", package="convatlas.caffe", syntax="proto2")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, many) in fields.items():
            plain = kind not in SCHEMA
            message.field.add(name=field, number=number,
                              label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL,
                              type=getattr(kinds, f"TYPE_{kind.upper()}") if plain else kinds.TYPE_MESSAGE,
                              type_name=None if plain else f".convatlas.caffe.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"convatlas.caffe.{name}"))
            for name in SCHEMA}


def _layers(walk: _Walk, size: int) -> tuple[str, list[Layer]]:
    """(the network's name, its layers)."""
    title, layers, words, last = "", list[Layer](), 0, dict[bytes, Layer]()
    for field in walk.fields(0, size):
        if field.wire != 2:
            continue
        if field.number == 1 and field.end - field.begin <= 1000:
            title = _text(walk.bytes(field.begin, field.end))
        elif field.number in (NET, NET_V1):
            inside = list(walk.fields(field.begin, field.end))
            number = BLOBS if field.number == NET else BLOBS_V1
            blobs = [part for part in inside if part.number == number and part.wire == 2]
            rest = [part for part in inside if part.number != number]
            words += sum(part.end - part.start for part in rest)
            if words > WORDS:
                raise walk.refused(f"has more than {WORDS:,} bytes beside its numbers")
            said = _parsed("Layer" if field.number == NET else "LayerV1", walk, rest)
            kind = _text(said.type) if field.number == NET else TYPES_V1.get(said.type, str(said.type))
            name = _text(said.name)
            # layers may work in place: of those that wrote a map, the last one is meant
            layers.append(Layer(name, kind, said, tuple(_blob(walk, part, name) for part in blobs),
                                last.get(said.bottom[0]) if said.bottom else None))
            last |= dict.fromkeys(said.top, layers[-1])
    return title, layers


def _parsed(message: str, walk: _Walk, fields: list[Field]) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return messages()[message].FromString(b"".join(walk.bytes(part.start, part.end) for part in fields))
    except DecodeError as error:
        raise walk.refused(f"cannot be decoded: {error}") from error


def _blob(walk: _Walk, field: Field, layer: str) -> Tensor:
    """A layer's numbers in their shape: of one float32 or float64 run of bytes, or several one after the other."""
    inside = list(walk.fields(field.begin, field.end))
    numbers = [part for part in inside if part.number in (DATA, DOUBLES) and part.wire == 2]
    said = _parsed("Blob", walk, [part for part in inside if part.number in (1, 2, 3, 4, 7)
                                  and part.end - part.begin <= 1000])
    shape = list(said.shape.dim) if said.HasField("shape") else [said.num, said.channels, said.height, said.width]
    kinds = {part.number for part in numbers}
    dtype, held = torch.float64 if kinds == {DOUBLES} else torch.float32, sum(part.end - part.begin for part in numbers)
    if len(kinds) != 1 or min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != held:
        raise walk.refused(f"has numbers of {layer!r} that claim the shape {'×'.join(map(str, shape))} and take "
                           f"{held:,} bytes")
    tensor = torch.empty(held, dtype=torch.uint8)
    place, at = tensor.numpy(), 0
    for part in numbers:
        walk.file.seek(part.begin)
        walk.file.readinto(place[at:at + part.end - part.begin].data)       # type: ignore[attr-defined]
        at += part.end - part.begin
    return tensor.view(dtype).reshape(shape)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _two(values: Any, usual: int) -> tuple[int, int]:
    """(high, wide) of a list of none, one or two numbers."""
    return (values[0], values[-1]) if values else (usual, usual)


def _converted(layers: list[Layer], walk: _Walk) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """PyTorch's layout and leaves."""
    found: dict[str, dict[str, Tensor]] = {}
    readers = Counter(blob for layer in layers for blob in layer.said.bottom)
    folded, other = 0, 0
    for layer in layers:
        if not layer.blobs:
            continue
        before = layer.source
        if layer.type == "BatchNorm":
            leaves = found[layer.name] = _norm(layer, walk)
            other += abs(_eps(layer) - EPS) > 1e-9
            if before and before.type == "Convolution" and "bias" in found.get(before.name, {}):
                if layer.said.bottom[0] not in layer.said.top and readers[layer.said.bottom[0]] > 1:
                    raise walk.refused(f"reads the convolution {before.name!r} with its bias before and behind the "
                                       "normalisation, which no network here does")
                mean = leaves["running_mean"]
                leaves["running_mean"] = (mean.double() - found[before.name].pop("bias").double()).to(mean.dtype)
                folded += 1
        elif layer.type == "Scale" and before and before.type == "BatchNorm" and len(layer.said.bottom) == 1:
            found[before.name] |= zip(("weight", "bias"), (blob.flatten() for blob in layer.blobs), strict=False)
        else:
            names = ("weight", "bias", *(f"blob{i}" for i in range(2, len(layer.blobs))))
            leaves = found[layer.name] = dict(zip(names, layer.blobs, strict=False))
            if "bias" in leaves:
                leaves["bias"] = leaves["bias"].flatten()       # once 1×1×1×cout
            weight = leaves["weight"]
            if layer.type == "InnerProduct" and weight.numel() == math.prod(weight.shape[-2:]):
                weight = weight.reshape(weight.shape[-2:])      # once 1×1×cout×cin
                leaves["weight"] = weight.T.contiguous() if layer.said.inner_product.transpose else weight
    notes = []
    if folded:
        notes.append(f"{folded} convolutions have a bias before their BatchNorm: it was taken off the mean, which is "
                     "the same function")
    if other:
        notes.append(f"{other} BatchNorms have another epsilon than 1e-5: the difference was added to their variance, "
                     "which is the same function")
    return {f"{name}.{leaf}": tensor for name, leaves in found.items() for leaf, tensor in leaves.items()}, tuple(notes)


def _norm(layer: Layer, walk: _Walk) -> dict[str, Tensor]:
    """Statistics as they are used: the file has sums, and the factor that they are divided by."""
    if len(layer.blobs) != 3 or layer.blobs[2].numel() != 1:
        raise walk.refused(f"has a BatchNorm {layer.name!r} of {len(layer.blobs)} blobs, where Caffe's own has mean, "
                           "variance and a factor")
    factor = layer.blobs[2].double().item()
    if not factor:
        raise walk.refused(f"has a BatchNorm {layer.name!r} that has seen no image: its factor is 0")
    mean, variance = (blob.flatten() for blob in layer.blobs[:2])
    difference = _eps(layer) - EPS if abs(_eps(layer) - EPS) > 1e-9 else 0.0
    return {"running_mean": (mean.double() / factor).to(mean.dtype),
            "running_var": (variance.double() / factor + difference).to(mean.dtype),
            "weight": torch.ones_like(mean), "bias": torch.zeros_like(mean)}


def _eps(layer: Layer) -> float:
    return float(layer.said.batch_norm.eps) if layer.said.batch_norm.HasField("eps") else EPS


def check(where: str, layers: tuple[Layer, ...], model: nn.Module, pairs: Mapping[str, str]) -> None:
    """Compare what the file's layers do with what the network's do; the first that differs is a ConvatlasError.

    Convolutions by their names (`pairs`, theirs → ours), response normalisations in their order, max-pools by how many
    there are of each kind.
    """
    def differ(what: str, theirs: Any, ours: Any) -> ConvatlasError:
        return ConvatlasError(f"{where} holds another network than {getattr(model, 'name', 'this')!r}, under the same "
                              f"names: {what} is {theirs} there and {ours} here")

    for layer in layers:
        place = pairs.get(f"{layer.name}.weight", "").removesuffix(".weight")
        ours = model.get_submodule(place) if place else None
        if layer.type in ("Convolution", "Deconvolution") and isinstance(ours, nn.Conv2d | nn.ConvTranspose2d):
            geometry = (*map(_both, (ours.stride, ours.padding, ours.dilation)), (ours.groups,))
            if geometry != layer.geometry:
                words = "stride, padding, dilation and groups of"
                raise differ(f"{words} {layer.name!r}", layer.geometry, geometry)
    responses = [layer.response for layer in layers if layer.type == "LRN"]
    here = [(norm.size, norm.alpha * norm.size, norm.beta, norm.k, 0) for norm in model.modules()
            if isinstance(norm, LocalResponseNorm)]
    if len(responses) != len(here):
        raise differ("the number of response normalisations", len(responses), len(here))
    for theirs, own in zip(responses, here, strict=True):
        if not all(map(partial(math.isclose, rel_tol=1e-6), theirs, own)):
            raise differ("size, alpha, beta, k and region of a response normalisation", theirs, own)
    pools = Counter(layer.pool for layer in layers if layer.pool)
    mine = Counter((pool.kernel_size, pool.stride, _padding(pool)) for pool in model.modules()
                   if isinstance(pool, nn.MaxPool2d))
    if pools != mine:
        raise differ("the count of max-pools by kernel, stride and padding", dict(pools), dict(mine))


def _padding(pool: nn.MaxPool2d) -> Any:
    """As Caffe would say it: TensorFlow's SAME, at a stride of 1, is half the kernel."""
    return pool.kernel_size // 2 if isinstance(pool, SameMaxPool2d) and pool.stride == 1 else pool.padding    # type: ignore[operator]


def _both(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
