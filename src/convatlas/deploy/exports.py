"""Networks as files that other programs read, each compared with the network after it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConvatlasError, installing, nearest
from ..files import put, whole_files
from ..net.model import Convnet, by
from ..net.segmenter import Segmenter
from .backends import BACKENDS, exported
from .backends.onnx_runtime import write_onnx
from .backends.open_vino import write_ir
from .choose import TOLERANCE, difference
from .graph.rewrite import rewrite
from .reader import open_session, openvino_core

Format = Literal["onnx", "torch", "openvino", "executorch"]


@dataclass(frozen=True)
class Exported:
    """A file that was written, read back by its engine, and compared with the network.

    `size` is bytes on disk (OpenVINO's two files together), `difference` the scores' largest, relative to the largest
    score; `takes` says in words which images the file takes.
    """

    path: Path
    format: Format
    size: int
    difference: float
    takes: str


def export(model: Convnet, path: str | Path, format: Format | None = None) -> Exported:
    """Write `model` for images (batch, in_chans, h, w) of its size, any batch, and check that the file gives the same
    scores; one that scores pixels for every size that it takes, which is checked at a second one.

    onnx: input `image`, output `scores`, weights inside (.onnx); torch: a torch.export program (.pt2); openvino: .xml
    with its .bin; executorch: a .pte for XNNPACK, of batch 1. Without `format` the suffix says which. The network is
    folded and rewritten first. Raises ConvatlasError where a package is missing, for another suffix, where it cannot be
    written, and where the scores read back differ by more than 1e-4 of the largest: `path` then holds what it held.
    """
    target = Path(path).expanduser()
    kind = _format(target, format)
    suffix, packages, extra, write, read = FORMATS[kind]
    if target.suffix != suffix:
        raise ConvatlasError(f"cannot write {str(target)!r}: the name of {kind}'s file ends in {suffix}")
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise ConvatlasError(f"format {kind!r} needs {' and '.join(absent)}: {installing(extra)}")
    if any(module.training for module in model.modules()):
        raise ConvatlasError(f"{model.name} is in training mode: call model.eval() first")
    if not target.parent.is_dir():
        raise ConvatlasError(f"cannot write {str(target)!r}: there is no folder {str(target.parent)!r}")
    dice = torch.Generator().manual_seed(0)
    images = torch.randn(1 if kind == "executorch" else 3, model.in_chans, *model.image_size, generator=dice)
    another = _another(model) if kind != "executorch" else None
    with whole_files(target.parent, target.name) as fresh:      # with what an engine needs beside it
        made = fresh / target.name
        write(model, images, made)
        size = sum(file.stat().st_size for file in fresh.iterdir())
        off = difference(model, images, _read_back(read, made, images, target))
        if another is not None:
            images = torch.randn(1, model.in_chans, *another, generator=dice)
            off = max(off, difference(model, images, _read_back(read, made, images, target)))
        if not off <= TOLERANCE["fp32"]:
            raise ConvatlasError(f"{str(target)!r} would give scores that differ by {off:.1e} of the largest: it is "
                                 f"not {model.name}")
    return Exported(target, kind, size, off, _takes(model, kind))


def _read_back(read: "Read", made: Path, images: Tensor, target: Path) -> Tensor:
    """The scores by the file; a ConvatlasError where its engine cannot read it: some write half a file without a word.
    """
    try:
        return read(made, images)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConvatlasError(f"cannot write {str(target)!r}: what was written cannot be read back "
                             f"({' '.join(str(error).split())[:200]}); is the disk full?") from error


def _another(model: Convnet) -> tuple[int, int] | None:
    """A size besides its own that a network which scores pixels takes."""
    if not isinstance(model, Segmenter):
        return None
    (height, width), step = model.image_size, max(model.step, 9)
    return next((size for size in ((height + step, width + 2 * step), (height + model.step, width))
                 if model.accepts(size)), None)


def _takes(model: Convnet, kind: Format) -> str:
    """The images that a file takes, in words."""
    own = by(model.image_size)
    if kind == "executorch":
        return f"one image at a time, of {own} pixels"
    if not isinstance(model, Segmenter) or _another(model) is None:
        return f"any batch of images of {own} pixels"
    least = model.least_side or max(model.image_size)
    if model.step == 1:
        return "any batch of images of any height and width" + (", except where they leave a map of one pixel"
                                                                if kind == "torch" else f" from {least} pixels")
    sides = ", ".join(str(least + i * model.step) for i in range(3))
    return f"any batch of images with sides of {sides}, … pixels" + (
        "; others are refused" if kind == "torch" else ", and does not refuse others: crop or pad them first")


def _format(path: Path, given: str | None) -> Format:
    """The format of that name, or of the file's suffix."""
    for name, (suffix, *_) in FORMATS.items():
        if given == name or (given is None and path.suffix == suffix):
            return name
    if given is not None:
        raise ConvatlasError(f"format {given!r} is unknown: there are {', '.join(FORMATS)}{nearest(given, FORMATS)}")
    kinds = ", ".join(f"{suffix} ({name})" for name, (suffix, *_) in FORMATS.items())
    raise ConvatlasError(f"cannot write {str(path)!r}: its suffix says which format, {kinds}")


def _write_torch(model: Convnet, images: Tensor, path: Path) -> None:
    content = BytesIO()             # torch aborts the process where the disk is full
    torch.export.save(exported(model, images), content)
    put(path, content.getvalue())


def _read_torch(path: Path, images: Tensor) -> Tensor:
    with torch.inference_mode():
        out: Tensor = torch.export.load(path).module()(images)
        return out


def _read_onnx(path: Path, images: Tensor) -> Tensor:
    return torch.from_numpy(open_session(path, torch.get_num_threads()).run(None, {"image": images.numpy()})[0])


def _read_openvino(path: Path, images: Tensor) -> Tensor:
    compiled = openvino_core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled(images.numpy())[0].copy())


def _write_executorch(model: Convnet, images: Tensor, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(rewrite(model), (images,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    put(path, lowered.buffer)


def _read_executorch(path: Path, images: Tensor) -> Tensor:
    from executorch.runtime import Runtime

    out: Tensor = Runtime.get().load_program(path).load_method("forward").execute([images])[0]
    return out


Write = Callable[[Convnet, Tensor, Path], None]
Read = Callable[[Path, Tensor], Tensor]

# suffix, packages, their extra, writer, reader
FORMATS: dict[Format, tuple[str, tuple[str, ...], str, Write, Read]] = {
    "onnx": (".onnx", BACKENDS["onnxruntime"].requires, "onnx", write_onnx, _read_onnx),
    "torch": (".pt2", (), "", _write_torch, _read_torch),
    "openvino": (".xml", ("openvino",), "openvino", write_ir, _read_openvino),
    "executorch": (".pte", ("executorch",), "executorch", _write_executorch, _read_executorch),
}
