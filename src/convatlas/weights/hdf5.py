"""Tensors of Keras's HDF5 files, as `layer.leaf` and in PyTorch's layout; read by h5py, which is imported only here.

Two forms are known: layers listed by the attribute `layer_names` (tf.keras, keras.applications, `model.save("x.h5")` in
Keras 3), and Keras 3's `x.weights.h5`, groups `layers/…/vars` whose attribute `name` is the layer's. Numbers and names
are all that is read: never `model_config`, never an optimizer. Links out of a group, data in other files, and filters
that are not HDF5's own are refused.
"""

import math
import re
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import bounded
from ..errors import ConvatlasError, installing

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = b"GCOL\x01"      # in float32's bytes only with numbers of 128 and more
LEAVES = {"kernel": "weight", "depthwise_kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias",
          "moving_mean": "running_mean", "moving_variance": "running_var"}
# Keras 1; the std is a variance
OLD = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}
# (class, how many): their names, which the file does not tell
VARIABLES = {("conv2d", 1): ("kernel",), ("conv2d", 2): ("kernel", "bias"), ("dense", 1): ("kernel",),
             ("dense", 2): ("kernel", "bias"),
             ("depthwise_conv2d", 1): ("depthwise_kernel",), ("depthwise_conv2d", 2): ("depthwise_kernel", "bias"),
             ("batch_normalization", 3): ("beta", "moving_mean", "moving_variance"),      # scale=False
             ("batch_normalization", 4): ("gamma", "beta", "moving_mean", "moving_variance"),
             ("layer_normalization", 2): ("gamma", "beta"), ("layer_scale", 1): ("gamma",),
             ("normalization", 2): ("mean", "variance"), ("normalization", 3): ("mean", "variance", "count")}
UNNAMED = re.compile(
    r"(conv2d|depthwise_conv2d|dense|batch_normalization|layer_normalization|normalization)(?:_(\d+))?")
FILTERS = range(1, 7), (32000,)     # HDF5's own and h5py's LZF; any other would be looked for among plugins
DEFLATE, CHECKSUM = 1, 3
STEPS = 2**20       # entries of all heaps
MANY = 2**16        # words in one attribute, which holds 64 KiB as Keras writes it
Layers = dict[str, dict[str, Any]]          # layer → leaf → data


def read(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(tensors by name, what was done to them).

    Convolutions become (cout, cin, kh, kw), depthwise ones (cin · multiplier, 1, kh, kw), dense layers (cout, cin) with
    what a Flatten ordered (h, w, c) put in order (c, h, w). The bias of `x_conv` goes into the mean of `x_bn`. A
    normalisation without γ or β gets 1 or 0. Layers that Keras named by class are counted from 0: `conv2d_0`,
    `conv2d_1`. Raises ConvatlasError for what is refused, among it much more bytes than the
    file's; h5py's errors pass through.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise ConvatlasError(f"{str(path)!r} is not a HDF5 file: it begins otherwise")
    if not _sound(path):
        raise ConvatlasError(f"{str(path)!r} is damaged: the sizes in its lists of words do not add up")
    try:
        import h5py
    except ImportError as error:
        raise ConvatlasError(f"reading .h5 needs h5py: {installing('keras')}") from error
    with h5py.File(path, "r") as file:
        root = _at(file, "model_weights", path) if "model_weights" in file else file
        flat: set[str] = set()      # dense layers behind a Flatten, at once or later
        found = _listed(root, path, flat) if _list(root, "layer_names") else _grouped(root, path, flat)
        bounded.plausible(sum(_size(data, name, path) for name, data in _all(found)), path.stat().st_size)
        counters = [name for name, data in _all(found) if data.dtype.kind in "iu"]
        layers = {layer: {leaf: _numbers(data) for leaf, data in leaves.items() if data.dtype.kind == "f"}
                  for layer, leaves in found.items()}
    return _converted(_counted(layers), flat, [f"{len(counters)} integers were left out, {counters[0]!r} the first"]
                      if counters else [])


def _sound(path: Path) -> bool:
    """True if every heap of words ('GCOL') is a row of entries that ends where it says: in any other, HDF5 may turn for
    ever.

    A heap is a head of 16 bytes and entries of (index 2, references 2, nothing 4, size 8); index 0 is free space, which
    counts its head.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        # of offsets and lengths, by the superblock's version
        widths = data[9:11] if data[8:9] >= b"\x02" else data[13:15]
        at, steps = data.find(HEAP), 0
        while at >= 0:
            place, end = at + 16, at + int.from_bytes(data[at + 8:at + 16], "little")
            while end <= len(data) and end - place >= 16:
                size = int.from_bytes(data[place + 8:place + 16], "little")
                step = 16 + -(-size // 8) * 8 if any(data[place:place + 2]) else size
                steps += 1
                if step < 16 or steps > STEPS:      # heaps in heaps would be walked through again and again
                    return False
                place += step
            if not at + 16 <= place <= end <= len(data):
                return False
            at = data.find(HEAP, at + 1)
    return widths == b"\x08\x08"


def _all(layers: Layers) -> Iterator[tuple[str, Any]]:
    return ((f"{layer}/{leaf}", data) for layer, leaves in layers.items() for leaf, data in leaves.items())


def _listed(root: Any, path: Path, flat: set[str]) -> Layers:
    """Layers by `layer_names` and their `weight_names`: 'conv1/kernel:0', in Keras 1 'conv1_W_1:0'; a network inside it
    is one layer.
    """
    found: Layers = {}
    flattened = False
    for layer in _list(root, "layer_names"):
        flattened |= "flatten" in layer
        group = _at(root, layer, path)
        names = {weight: re.sub(r":\d+$", "", weight) for weight in _list(group, "weight_names")}
        split = {weight: _split(name) for weight, name in names.items()}
        single = len({inner for inner, _ in split.values()}) == 1
        for weight, (inner, leaf) in split.items():
            name = layer if single or not inner else inner.rpartition("/")[2]
            _add(found, name, leaf, _at(group, weight, path), path)
            if flattened:
                flat.add(_plain(name))
    return found


def _split(name: str) -> tuple[str, str]:
    old = re.fullmatch(r"(.+?)_(W|b|gamma|beta|running_mean|running_std)(?:_\d+)?", name) if "/" not in name else None
    inner, leaf = (old[1], old[2]) if old else name.rpartition("/")[::2]
    # ConvNeXt's layer scale has no name
    return inner, "gamma" if re.fullmatch(r"[vV]ariable(_\d+)?", leaf) else OLD.get(leaf, leaf)


def _grouped(root: Any, path: Path, flat: set[str]) -> Layers:
    """Layers by groups `layers/conv2d_1/vars` with the attribute `name`; their variables are called 0, 1, …"""
    found: Layers = {}
    if "layers" in root:
        named = list(_variables(_at(root, "layers", path), "layers", path, set()))
        flattened = any(kind == "flatten" for kind, _, _ in named)
        for kind, name, group in sorted(named, key=lambda each: (each[0] == "dense", *_natural(each[1]))):
            if not name:
                raise ConvatlasError(f"{str(path)!r} does not say which layers its numbers belong to, as early "
                                     "versions of Keras 3 and tf.keras write .weights.h5: load it there and write it "
                                     "with model.save('x.h5')")
            leaves = VARIABLES.get((kind, len(group)), ())
            for number in sorted(group, key=_natural):
                leaf = leaves[int(number)] if number.isdecimal() and int(number) < len(leaves) else number
                _add(found, name, leaf, _at(group, number, path), path)
                if flattened:
                    flat.add(_plain(name))
    if not found:
        raise ConvatlasError(f"{str(path)!r} holds no weights of a Keras network: neither the attribute 'layer_names' "
                             "nor a group 'layers'; write it with model.save('x.h5')")
    return found


def _variables(group: Any, inside: str, path: Path, seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    """(class, layer, group of its variables), layers inside layers too."""
    import h5py

    seen.add(h5py.h5o.get_info(group.id).addr)
    for key in group:
        inner = _at(group, key, path)
        if not isinstance(inner, h5py.Group):
            continue
        if h5py.h5o.get_info(inner.id).addr in seen:
            raise ConvatlasError(f"{str(path)!r} has a group inside itself or twice, {inner.name!r}: it is refused")
        if key == "vars":
            name = "".join(_words(inner, "name")) if "name" in inner.attrs else ""
            if inside == "flatten" or (len(inner) and inside != "seed_generator"):
                yield inside, name, inner
        else:
            yield from _variables(inner, re.sub(r"_\d+$", "", key), path, seen)


def _natural(text: str) -> tuple[Any, ...]:
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text))


def _list(group: Any, name: str) -> list[str]:
    """A list of words among the attributes; Keras cuts long ones into name0, name1, …"""
    parts = [name] if name in group.attrs else []
    while parts[:1] != [name] and f"{name}{len(parts)}" in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [word for part in parts for word in _words(group, part)]


def _words(group: Any, name: str) -> list[str]:
    """An attribute's words; ConvatlasError unless it is plain text, of a length that HDF5 can safely walk through."""
    import h5py

    held = group.attrs.get_id(name)
    kind, count = held.get_type(), 0 if held.shape is None else math.prod(held.shape)
    if count == 0:
        return []
    text = isinstance(kind, h5py.h5t.TypeStringID) and count <= MANY and kind.get_size() <= MANY
    if not text or held.get_storage_size() != count * (16 if kind.is_variable_str() else kind.get_size()):
        what = f"the attribute {name!r} is no list of words ({held.dtype}, {held.shape})"
        raise ConvatlasError(f"{group.file.filename!r}: {what}: it is refused")
    words = np.asarray(group.attrs[name]).reshape(-1).tolist()
    return [word.decode() if isinstance(word, bytes) else str(word) for word in words]


def _at(group: Any, name: str, path: Path) -> Any:
    """The object at a path below the group, by no other links than the file's own tree."""
    import h5py

    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part else None
        if not isinstance(link, h5py.HardLink):
            what = "missing" if link is None else f"a link to elsewhere ({type(link).__name__})"
            raise ConvatlasError(f"{str(path)!r}: {name!r} is {what}: it is refused")
        group = group[part]
    return group


def _add(found: Layers, layer: str, leaf: str, data: Any, path: Path) -> None:
    leaves = found.setdefault(_plain(layer), {})
    if leaf in leaves:
        raise ConvatlasError(f"{str(path)!r} has two tensors {leaf!r} of layers called {layer!r}: which is which "
                             "cannot be told")
    leaves[leaf] = data


def _plain(layer: str) -> str:
    return layer.replace("/", "_").replace(".", "_")


def _size(data: Any, name: str, path: Path) -> int:
    """Bytes that reading takes; ConvatlasError for what is no plain array of numbers inside this file."""
    import h5py

    if (not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or data.dtype.itemsize > 8
            or data.shape is None):
        kind = getattr(data, "dtype", type(data).__name__)
        raise ConvatlasError(f"{str(path)!r}: {name!r} is no array of plain numbers ({kind}): it is refused")
    if data.is_virtual or data.external:
        raise ConvatlasError(f"{str(path)!r}: {name!r} lies in another file: it is refused")
    plan = data.id.get_create_plist()
    codes = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if odd := [code for code in codes if not any(code in known for known in FILTERS)]:
        raise ConvatlasError(f"{str(path)!r}: {name!r} is packed by a filter that HDF5 lacks (number {odd[0]}): "
                             "write it without")
    if DEFLATE in codes:
        _check_chunks(data, name, path, [code for code in codes if code != CHECKSUM], CHECKSUM in codes)
    return int(max(math.prod(data.shape), math.prod(data.chunks or (0,))) * data.dtype.itemsize)


def _check_chunks(data: Any, name: str, path: Path, codes: list[int], sums: bool) -> None:
    """Refuse a chunk that inflates to more than a chunk is: HDF5 would hold all of it."""
    whole = math.prod(data.chunks) * data.dtype.itemsize
    for number in range(data.id.get_num_chunks() if codes[-1] == DEFLATE else 0):
        skipped, packed = data.id.read_direct_chunk(data.id.get_chunk_info(number).chunk_offset)
        found = b"" if skipped else zlib.decompressobj().decompress(packed[:-4] if sums else packed, whole + 1)
        if len(found) > whole:
            raise ConvatlasError(f"{str(path)!r}: a chunk of {name!r} unfolds to more than {whole:,} bytes: it is "
                                 "refused")
    if codes[-1] != DEFLATE:
        raise ConvatlasError(f"{str(path)!r}: {name!r} is packed, and then changed: it is refused")


def _numbers(data: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(data[()])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _counted(layers: Layers) -> Layers:
    """Layers that nobody named, whose numbers depend on what else was built before, numbered from 0."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for name in layers:
        if unnamed := UNNAMED.fullmatch(name):
            kinds.setdefault(unnamed[1], []).append((int(unnamed[2] or 0), name))
    places = {name: f"{kind}_{place}" for kind, every in kinds.items() for place, (_, name) in enumerate(sorted(every))}
    return {places.get(name, name): leaves for name, leaves in layers.items()}


def _converted(layers: Layers, flat: set[str], notes: list[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """PyTorch's layout and leaves; `flat` are the layers behind a Flatten."""
    maps, folded = 0, 0
    for name, leaves in layers.items():
        key = "depthwise_kernel" if "depthwise_kernel" in leaves else "kernel"
        kernel = leaves.get(key)
        if kernel is None:
            continue
        if kernel.ndim == 4 and _depthwise(key, kernel, leaves.get("bias")):
            leaves[key] = kernel.reshape(*kernel.shape[:2], -1).transpose(2, 0, 1)[:, None]
        elif kernel.ndim > 2:
            leaves[key] = np.moveaxis(kernel, (-1, -2), (0, 1))
        elif kernel.ndim == 2:
            leaves[key], cin = kernel.T, len(kernel)
            if name in flat and maps and cin > maps and cin % maps == 0:
                leaves[key] = leaves[key].reshape(-1, cin // maps, maps).swapaxes(1, 2).reshape(-1, cin)
                notes.append(f"{name!r} reads a flattened map: its inputs were put from (h, w, c) into the "
                             "order (c, h, w)")
        maps = leaves[key].shape[0] if kernel.ndim == 4 else 0 if kernel.ndim == 2 else maps
    for name, leaves in layers.items():
        if {"mean", "variance"} <= leaves.keys():
            told = ", ".join(f"{leaf} {leaves[leaf].reshape(-1)[:4].round(4).tolist()}"
                             for leaf in ("mean", "variance"))
            notes.append(f"Keras's network normalises pictures itself ({name!r}: {told}), which ours leaves to what "
                         "prepares them")
        norm = layers.get(f"{name.removesuffix('_conv')}_bn", {}) if name.endswith("_conv") else {}
        if "bias" in leaves and norm.get("moving_mean", np.empty(0)).shape == leaves["bias"].shape:
            mean = norm["moving_mean"]
            norm["moving_mean"] = (mean.astype(np.float64) - leaves.pop("bias")).astype(mean.dtype)
            folded += 1
        if "moving_mean" in leaves:
            whole = {"gamma": np.ones_like(leaves["moving_mean"]), "beta": np.zeros_like(leaves["moving_mean"])}
            layers[name] = {**whole, **leaves}
    if folded:
        notes.append(f"{folded} convolutions have a bias before their BatchNorm: it was taken off the mean, which is "
                     "the same function")
    return {f"{name}.{LEAVES.get(leaf, leaf)}": torch.from_numpy(np.array(value, order="C"))
            for name, leaves in layers.items() for leaf, value in leaves.items()}, tuple(notes)


def _depthwise(key: str, kernel: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None) -> bool:
    """Keras 3 calls a depthwise kernel (kh, kw, cin, 1) `kernel`, as it calls one of a convolution to one map."""
    single = kernel.shape[3] == 1 and kernel.shape[2] > 1 and kernel.shape[:2] != (1, 1)
    return key == "depthwise_kernel" or (single and (bias is None or bias.shape[0] == kernel.shape[2]))
