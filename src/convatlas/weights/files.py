"""Tensors from files that others wrote: safetensors, PyTorch's zip and pickle files, NumPy archives, Keras's HDF5,
Caffe's .caffemodel.

None is executed. A PyTorch file is read with `weights_only`: besides tensors only what timm's and torchvision's scripts
save beside them is let through, plain values, argparse's Namespace, NumPy scalars, paths. Anything else in a pickle is
refused.
"""

import argparse
import json
import math
import pathlib
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ConvatlasError
from . import caffe, hdf5

TORCH = (".pth", ".pt", ".th", ".bin", ".tar", ".ckpt", ".pkl")
KERAS = (".h5", ".hdf5")
CAFFE = ".caffemodel"
WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict",
            "model_state", "model", "net", "network",
            "weights", "params")       # of several, the first: an average is what its run was judged by
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "network.")
HARMLESS = ("torch._utils.", "torch.storage.", "torch.Size", "torch.device", "torch.nn.parameter.",
            "collections.OrderedDict", "numpy.", "argparse.Namespace", "pathlib.", "torch.Float", "torch.Half",
            "torch.BFloat", "torch.Double", "torch.Long", "torch.Int", "torch.Byte", "torch.Bool")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
LARGEST = 2**40         # bytes that an archive's header may claim in all


@dataclass(frozen=True)
class Foreign:
    """The contents of a file of weights."""

    where: str
    format: str
    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)       # plain values beside them
    notes: tuple[str, ...] = ()                                 # what was seen through
    layers: tuple[caffe.Layer, ...] = ()                        # of Caffe's files, which tell what their network does
    fields: Mapping[str, Any] = field(default_factory=dict)     # and so some of our specification's

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def read(source: str | Path | Mapping[str, Tensor]) -> Foreign:
    """The tensors of a file, or of a state dict; wrappers and prefixes taken off.

    They lie in memory of their own and are not mapped from disk: a program that loads `x.pth` and saves `x.pth` would
    pull the file out from under a mapping, and crash with the file half written. Raises ConvatlasError for a file that
    is absent, damaged, of another format, or would need code to be read.
    """
    if isinstance(source, Mapping):
        return _unwrapped(Foreign("the state dict", "mapping", {}), source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConvatlasError(f"there is no weights file {str(path)!r}")
    kind = path.suffix.lower()
    if kind == ".safetensors":
        return _safetensors(path)
    if kind == ".npz":
        return _npz(path)
    if kind in TORCH:
        return _torch(path)
    if kind in KERAS:
        return _keras(path)
    if kind == CAFFE:
        return _caffe(path)
    hints = {".keras": "write its weights with model.save_weights('x.weights.h5')",
             ".prototxt": "that is the network; its weights are in the .caffemodel",
             ".ckpt-index": "read it with TensorFlow and save the variables as .npz",
             ".onnx": "an ONNX file is a program, not weights"}
    known = ", ".join((".safetensors", ".npz", CAFFE, *KERAS, *TORCH))
    raise ConvatlasError(f"{str(path)!r} is in no format that is read here ({known})"
                         + (f"; {hints[kind]}" if kind in hints else ""))


def _safetensors(path: Path) -> Foreign:
    """Tensor by tensor."""
    try:
        with safe_open(path, framework="pt") as file:       # checks the header against the file's length
            meta = dict(file.metadata() or {})
        tensors: dict[str, Tensor] = {}
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            header.pop("__metadata__", None)
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                begin, end = entry["data_offsets"]
                place = torch.empty(end - begin, dtype=torch.uint8)
                stream.readinto(place.numpy().data)
                tensors[name] = place.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (SafetensorError, OSError, ValueError, OverflowError, KeyError) as error:
        raise ConvatlasError(f"{str(path)!r} is not a readable safetensors file: {_line(error)}") from error
    return _unwrapped(Foreign(str(path), "safetensors", {}, meta), tensors)


def _npz(path: Path) -> Foreign:
    try:
        with zipfile.ZipFile(path) as archive:
            claimed, held = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
        if claimed > LARGEST or claimed > 1000 * held + 2**20:
            raise ConvatlasError(f"{str(path)!r} claims to hold {claimed:,} bytes in a file of {held:,}: it is refused")
        with np.load(path, allow_pickle=False) as arrays:
            numbers = {name: arrays[name] for name in arrays.files}
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes zipfile and NumPy raise nearly anything
        raise ConvatlasError(f"{str(path)!r} is not a readable .npz file: {_line(error)}") from error
    return _unwrapped(Foreign(str(path), "npz", {}), {name: torch.from_numpy(value) for name, value in numbers.items()
                                                       if value.dtype.kind in "fiu"})


def _keras(path: Path) -> Foreign:
    """In PyTorch's layout already; the reader's notes say what was moved."""
    try:
        tensors, notes = hdf5.read(path, LARGEST)
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes h5py raises nearly anything
        raise ConvatlasError(f"{str(path)!r} is not a readable HDF5 file: {_line(error)}") from error
    return _unwrapped(Foreign(str(path), "keras", {}, notes=notes), tensors)


def _caffe(path: Path) -> Foreign:
    """In PyTorch's layout already; the reader's notes say what was moved."""
    held = caffe.read(path)
    found = _unwrapped(Foreign(str(path), "caffe", {}, {"arch": held.network}, held.notes), held.tensors)
    return replace(found, layers=held.layers, fields=held.fields)


def _torch(path: Path) -> Foreign:
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]      # what NumPy's pickles call
    allowed: list[Any] = [
        argparse.Namespace, OrderedDict, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath,
        pathlib.PureWindowsPath,
        np.dtype, np.ndarray, scalar, array, *{type(np.dtype(kind))
                                               for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")},
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # on broken bytes it raises nearly anything
        needs = _needs(path)
        if needs:
            raise ConvatlasError(f"{str(path)!r} is a pickle of more than plain tensors ({needs}), which could run "
                                 "code when it is read; where you trust it, save its state_dict() alone with the "
                                 "program that wrote it") from error
        raise ConvatlasError(f"{str(path)!r} cannot be read as a PyTorch file: {_line(error)}") from error
    if not isinstance(found, Mapping):
        raise ConvatlasError(f"{str(path)!r} holds a {type(found).__name__}, not tensors by name; save a state_dict()")
    return _unwrapped(Foreign(str(path), "pytorch", {}), found)


def _needs(path: Path) -> str:
    """The first class or function that the pickle asks for and that is no tensor's; empty if there is none, or no
    pickle.
    """
    texts: list[str] = []
    try:
        for code, value, _ in pickletools.genops(_pickled(path)):
            if isinstance(value, str):
                texts.append(value)
            name = texts[-1].replace(" ", ".") if code.name == "GLOBAL" else ".".join(texts[-2:])
            if code.name in ("GLOBAL", "STACK_GLOBAL") and not name.startswith(HARMLESS):
                return name
    except Exception:       # only the sentence of an error depends on it
        return ""
    return ""


def _pickled(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _unwrapped(foreign: Foreign, tree: Mapping[Any, Any]) -> Foreign:
    """Tensors by name, out of dicts that hold them and without prefixes that all share."""
    notes, meta = list(foreign.notes), dict(foreign.meta)
    while not any(isinstance(value, Tensor) for value in tree.values()):
        key = next((key for key in WRAPPERS if isinstance(tree.get(key), Mapping) and tree[key]), None)
        if key is None:
            raise ConvatlasError(f"{foreign.where} holds no tensors by name; it has "
                                 f"{', '.join(map(str, list(tree)[:8])) or 'nothing'}")
        meta |= {str(name): value for name, value in tree.items()
                 if isinstance(value, str | int | float | bool | argparse.Namespace)}
        others = [other for other in WRAPPERS if other != key and isinstance(tree.get(other), Mapping)]
        notes.append(f"its tensors are those under {key!r}"
                     + (f" (not those under {', '.join(map(repr, others))})" if others else ""))
        tree = tree[key]
    tensors = {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
    while prefix := next(
            (prefix for prefix in PREFIXES if tensors and all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        notes.append(f"the prefix {prefix!r} was taken off every name")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ConvatlasError(f"{foreign.where}: {name!r} claims the shape {_shape(tensor)}, which its bytes do not "
                                 "fill: it is refused")
    odd = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _finite(tensor)]
    if odd:
        notes.append(f"{len(odd)} tensor(s) hold numbers that are not finite, {odd[0]!r} the first")
    return Foreign(foreign.where, foreign.format, tensors, meta, tuple(notes))


def _finite(tensor: Tensor) -> bool:
    """True if all numbers are finite: their sum, which takes no memory and, by NumPy, wakes no threads, tells of nearly
    all tensors.
    """
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float16, torch.float32, torch.float64):
        with np.errstate(all="ignore"):
            total = float(tensor.detach().numpy().sum(dtype=np.float32))
    else:
        total = tensor.sum(dtype=torch.float32).item()
    return math.isfinite(total) or bool(tensor.isfinite().all())


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
