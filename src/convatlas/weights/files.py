"""Tensors from files that others wrote: safetensors, PyTorch's zip and pickle files, NumPy archives, Keras's HDF5,
Caffe's .caffemodel.

None is executed. A PyTorch file is read with `weights_only`: besides tensors only what trainers save beside them is let
through, plain values, argparse's Namespace, NumPy's numbers and texts, states of generators, paths. Anything else in a
pickle is refused.
"""

import argparse
import datetime
import math
import pathlib
import re
import types
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import bounded
from ..errors import ConvatlasError
from . import caffe, hdf5, pickles, wrapped

TORCH = (".pth", ".pt", ".th", ".bin", ".tar", ".ckpt", ".pkl")
KERAS = (".h5", ".hdf5")
CAFFE = ".caffemodel"
INDEX = ".index.json"           # of weights in several files
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
MOST_DIMS = 8
OURS = "convatlas"              # in the metadata of our own files, whose names stay as they are
# how files begin that are called weights and are none: (bytes, what it is, what to do)
SIGNS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch it with git lfs pull"),
    (b"\x1f\x8b", "packed by gzip", "unpack it first"), (b"BZh", "packed by bzip2", "unpack it first"),
    (b"\xfd7zXZ", "packed by xz", "unpack it first"), (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "unpack it first"), (b"Rar!", "a RAR archive", "unpack it first"),
)


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

    They lie in memory of their own, each by itself, and are not mapped from disk: a program that loads `x.pth` and
    saves `x.pth` would pull the file out from under a mapping, and crash with the file half written; tensors that share
    memory would be trained as one. Raises ConvatlasError for a file that is absent, damaged, of another format, or
    would need code to be read, and for numbers that are not finite.
    """
    if isinstance(source, Mapping):
        return _network(Foreign("the state dict", "mapping", {}), source)
    return _network(*_opened(Path(source).expanduser()))


def _opened(path: Path) -> tuple[Foreign, Any]:
    """A file without its tensors, and the tree in it that holds them."""
    if not path.is_file():
        raise ConvatlasError(f"there is no weights file {str(path)!r}")
    kind = path.suffix.lower()
    if path.name.endswith(INDEX):
        return _parts(path)
    if kind in (".safetensors", ".npz", *TORCH, *KERAS):
        kind = _kind(path, kind)
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


def _kind(path: Path, suffix: str) -> str:
    """The suffix that fits how a file begins: programs save safetensors as .bin, and pages as .pth."""
    with path.open("rb") as file:
        head = file.read(1024)
    if suffix != ".h5" and not head:
        raise ConvatlasError(f"{str(path)!r} is not a readable {suffix[1:]} file: it is empty; fetch it again")
    for sign, what, advice in SIGNS:
        if head.startswith(sign):
            raise ConvatlasError(f"{str(path)!r} is {what}: {advice}")
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ConvatlasError(f"{str(path)!r} is a web page, not weights, as a download gives that was refused: "
                             "fetch it again")
    if head[257:262] == b"ustar":
        raise ConvatlasError(f"{str(path)!r} is a tar archive, as torch wrote before 0.1.10: unpack it, or load it "
                             "with the program that wrote it and save its state_dict()")
    if head.startswith(hdf5.SIGNATURE):
        return suffix if suffix in KERAS else KERAS[0]
    if head.startswith(b"PK\3\4"):
        return ".npz" if suffix == ".npz" or _holds_arrays(path) else TORCH[0]
    if head[8:10] in (b'{"', b"{}", b"{ ") and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return ".safetensors"
    return suffix


def _holds_arrays(path: Path) -> bool:
    try:
        with bounded.archive(path) as members:
            names = members.namelist()
        return bool(names) and all(name.endswith(".npy") for name in names)
    except (ValueError, OSError, zipfile.BadZipFile):
        return False


def _parts(path: Path) -> tuple[Foreign, Any]:
    """Weights in several files beside their index, as Hugging Face's libraries write them."""
    try:
        index = bounded.read_json(path)["weight_map"]
        names = sorted({str(name) for name in index.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvatlasError(f"{str(path)!r} is no index of weights in several files: {_line(error)}") from error
    if odd := [name for name in names if not re.fullmatch(r"[\w.-]{1,200}", name) or name.endswith(INDEX)]:
        raise ConvatlasError(f"{str(path)!r} names {odd[0][:80]!r}, which is no file beside it: it is refused")
    tensors, notes = dict[str, Tensor](), [f"they lie in {len(names)} files"]
    for name in names:
        if not path.with_name(name).is_file():
            raise ConvatlasError(f"{str(path)!r} needs {name!r} beside it, which is not there: fetch it too")
        tensors |= _opened(path.with_name(name))[1]
    if lost := [name for name in index if name not in tensors]:
        raise ConvatlasError(f"{str(path)!r} lists {lost[0]!r}, which its files do not hold: fetch them again")
    return Foreign(str(path), "several files", {}, notes=tuple(notes)), tensors


def _safetensors(path: Path) -> tuple[Foreign, Any]:
    """Tensor by tensor."""
    try:
        header = bounded.safetensors_head(path)
        with safe_open(path, framework="pt") as file:       # checks the header against the file's length
            meta = dict(file.metadata() or {})
        tensors: dict[str, Tensor] = {}
        header.pop("__metadata__", None)
        if odd := [name for name, entry in header.items() if entry["dtype"] not in DTYPES]:
            raise ConvatlasError(_odd_numbers(str(path), odd[0], header[odd[0]]["dtype"]))
        with path.open("rb") as stream:
            stream.seek(8 + int.from_bytes(stream.read(8), "little"))
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                begin, end = entry["data_offsets"]
                place = torch.empty(end - begin, dtype=torch.uint8)
                stream.readinto(place.numpy().data)
                tensors[name] = place.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (SafetensorError, OSError, ValueError, OverflowError, KeyError, TypeError, RuntimeError) as error:
        raise ConvatlasError(f"{str(path)!r} is not a readable safetensors file: {_line(error)}") from error
    return Foreign(str(path), "safetensors", {}, meta), tensors


def _npz(path: Path) -> tuple[Foreign, Any]:
    try:
        numbers = bounded.arrays(path)
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{str(path)!r} is not a readable .npz file: {_line(error)}") from error
    return Foreign(str(path), "npz", {}), numbers


def _keras(path: Path) -> tuple[Foreign, Any]:
    """In PyTorch's layout already; the reader's notes say what was moved."""
    try:
        tensors, notes = hdf5.read(path)
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes h5py raises nearly anything
        raise ConvatlasError(f"{str(path)!r} is not a readable HDF5 file: {_line(error)}") from error
    return Foreign(str(path), "keras", {}, notes=notes), tensors


def _caffe(path: Path) -> tuple[Foreign, Any]:
    """In PyTorch's layout already; the reader's notes say what was moved."""
    held = caffe.read(path)
    return Foreign(str(path), "caffe", {}, {"arch": held.network}, held.notes, layers=held.layers,
                   fields=held.fields), held.tensors


def _torch(path: Path) -> tuple[Foreign, Any]:
    pickles.check(path)
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]      # what NumPy's pickles call
    allowed: list[Any] = [
        argparse.Namespace, types.SimpleNamespace, OrderedDict, defaultdict, datetime.datetime, datetime.date,
        datetime.timedelta, dict, list, int, float, str, tuple, bool,
        pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath, np.dtype, np.ndarray,
        *((each, f"numpy.{home}.multiarray.{name}") for home in ("core", "_core")
          for name, each in (("scalar", scalar), ("_reconstruct", array))),
        *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "U1",
                                            "S1")},
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # on broken bytes it raises nearly anything
        # torch's advice, to read it without care, is left out
        why = _line(error).partition("WeightsUnpickler error:")[2] or _line(error)
        why = "its pickle is damaged" if "weights_only" in why else why.partition(" Check the documentation")[0]
        raise ConvatlasError(f"{str(path)!r} cannot be read as a PyTorch file: {why.strip()[:200]}") from error
    return Foreign(str(path), "pytorch", {}), found


def _network(foreign: Foreign, tree: Any) -> Foreign:
    """The network's tensors in what a file holds: strided, finite, each in memory of its own."""
    if OURS in foreign.meta and tree:
        tensors, meta, notes = dict(tree), dict[str, Any](), list[str]()
    else:
        tensors, meta, notes = wrapped.unwrapped(tree, foreign.where)
    for name, tensor in tensors.items():
        if (tensor.ndim > MOST_DIMS or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta
                or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()):
            raise ConvatlasError(f"{foreign.where}: {name!r} claims the shape {_shape(tensor)}, which its bytes do not "
                                 "fill: it is refused")
        if tensor.dtype not in DTYPES.values() and tensor.dtype not in (torch.uint16, torch.uint32, torch.uint64):
            raise ConvatlasError(_odd_numbers(foreign.where, name, str(tensor.dtype).removeprefix("torch.")))
    _check_numbers(tensors, foreign.where)
    return replace(foreign, tensors=_apart(tensors), meta={**foreign.meta, **meta}, notes=(*foreign.notes, *notes))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor alone in its memory and in the order of its shape: those that share some would be trained as one, and
    those that are not cannot be written.
    """
    seen, apart = set[int](), dict[str, Tensor]()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen and storage.nbytes() > 0
        seen.add(storage.data_ptr())
        apart[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
    return apart


def _check_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse numbers that are not finite and variances below zero: every score would be NaN."""
    odd = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _finite(tensor)]
    odd += [name for name, tensor in tensors.items()
            if name.endswith("running_var") and name not in odd and tensor.numel() and bool((tensor < 0).any())]
    if odd:
        few = ", ".join(map(repr, odd[:3])) + (" and others" if len(odd) > 3 else "")
        raise ConvatlasError(f"{where} holds numbers that are not finite, or variances below zero, in {len(odd)} of "
                             f"{len(tensors)} tensors ({few}): every score would be NaN; take an earlier checkpoint")


def _odd_numbers(where: str, name: str, kind: str) -> str:
    what = ("8-bit floats, whose scales it does not tell" if "f8" in kind.lower() or "float8" in kind
            else "numbers that no network here computes with")
    return f"{where}: {name!r} is stored as {kind}, {what}: save it as float32 or bfloat16"


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
