"""A folder that answers: the network for one engine, what it must know of pictures and classes, and a page that says
how it is used.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .. import bounded
from ..engine.allocator import use
from ..errors import ConvatlasError
from ..files import DEPLOYED, is_deployed, put, unfinished, whole_files
from ..net import registry
from ..net.card import Card, Provenance
from ..net.layers import macs
from ..net.model import Convnet, by, pair
from ..net.segmenter import Segmenter, of_pixels
from ..run import Loss, Preprocess
from ..runs.folder import IMAGES, MANIFEST
from ..runs.manifest import copy as copy_manifest
from ..weights import conventions
from ..weights.checkpoints import load
from ..zoo import transforms
from .backends import BACKENDS, Precision, Predictor, backend_of
from .backends.base import NETWORK, Tell, floating, quiet
from .backends.eager import write_folded
from .backends.split import FILE as SPLIT
from .backends.wasm import MODULE, SCRIPT
from .backends.wasm import PAGE as SHOWN
from .choose import CANDIDATES, TOLERANCE, Report, difference, optimize_in
from .int8.pictures import Labeled, Pictures, of_run
from .int8.quantization import CANDIDATES as IN_INT8
from .int8.quantization import COUNT, Quantized, quantize
from .machine import versions
from .native.stored import STEPS
from .reader import FORMAT, described
from .readme import readme
from .zeros import could_save

FITTED, PAGE = "preprocess.safetensors", "README.md"
OURS = (DEPLOYED, FITTED, PAGE, SPLIT, STEPS, IMAGES, MANIFEST, "model.bin", NETWORK, MODULE, SCRIPT, SHOWN,
        *(backend.file for backend in BACKENDS.values()))           # all that a deployed folder may hold
ONE_SIZE = ("compile", "aot")                   # backends that compile for one size of images
PACKAGES = ("convatlas", "torch", "onnxruntime", "openvino", "nncf")       # whose versions deploy.json names


class Deployed(nn.Module):
    """A deployed folder as a network: images (N, in_chans, h, w) of its one size to scores (N, num_classes) in float32.

    It has what `convatlas.predict` and `evaluate` ask of a network; `about` is deploy.json.
    """

    def __init__(self, run: Predictor, about: dict[str, Any], fitted: dict[str, Tensor], device: torch.device) -> None:
        super().__init__()
        self.run, self.about, self.device = run, about, device
        self.card = read_back(about, fitted)
        self.name, spec = self.card.model, self.card.spec
        self.num_classes, self.in_chans, self.image_size = spec.num_classes, spec.in_chans, pair(spec.image_size)

    def forward(self, x: Tensor) -> Tensor:
        """The scores; images of another shape are a ConvatlasError."""
        if x.ndim != 4 or tuple(x.shape[1:]) != (self.in_chans, *self.image_size):
            raise ConvatlasError(f"{self.name} was deployed for images (N, {self.in_chans}, {self.image_size[0]}, "
                                 f"{self.image_size[1]}), not {tuple(x.shape)}")
        return self.run(floating(x).to(self.device)).to(x.device)

    def check_image_size(self, size: tuple[int, int] | None = None) -> None:
        """A ConvatlasError, if `size` is not the one it was deployed for."""
        if size is not None and tuple(size) != self.image_size:
            raise ConvatlasError(f"{self.name} was deployed for images of {by(self.image_size)}, not {by(size)}: "
                                 f"deploy it with --image-size {size[0]}")


def deploy(model: str | Path | Convnet, out: str | Path, backend: str = "auto", precision: Precision = "fp32",
           batch: int = 1, *, image_size: int | tuple[int, int] | None = None, candidates: Sequence[str] = CANDIDATES,
           force: bool = False, calibrate: Pictures | None = None, calibration_count: int = COUNT,
           evaluate: Labeled | None = None,
           max_drop: str | float | None = None, sensitivity: bool = False, data_dir: str | None = None,
           tell: Tell = quiet) -> Report:
    """Write `model` (a network, a run folder or a file of weights) as a folder for one engine; returns what was
    measured. One that scores pixels is made fast for `image_size`, and answers images of any size that it takes.

    `backend`, `precision` and `candidates` are as for `optimize`; `batch` is what it is made fast for: any number of
    images is answered. Precision int8 is made by `quantize` from the pictures `calibrate`, of which `calibration_count`
    are used, and judged on `evaluate`; of a run folder both are the run's own data where they are left out. `max_drop`,
    `sensitivity` and `data_dir` are as there. What is written is opened again and compared with the network before it
    takes its place, deploy.json, which marks the folder as whole, at the end. Raises ConvatlasError for a folder that
    holds other things and, without `force`, for one that holds a deployed network.
    """
    if batch < 1:
        raise ConvatlasError(f"batch = {batch} is refused: it must be at least 1")
    folder = _free(Path(out).expanduser(), force)
    net = (model if isinstance(model, Convnet) else load(model)).eval()
    conventions(net.card)       # refuses weights for which nobody knows how pictures are prepared
    if backend == "wasm" and (fit := pictures_of(net)["fit"]) != "none":
        raise ConvatlasError(f"{net.name}'s pictures are prepared by what was measured on others (preprocess.fit = "
                             f"{fit}), which the page for WebAssembly does not do: take a run without it")
    if isinstance(net, Segmenter):
        candidates = _any_size(net, backend, precision, candidates)
    if image_size is not None:
        net.check_image_size(pair(image_size))
        net = _of_size(net, image_size)
    dice = torch.Generator().manual_seed(0)
    example = torch.randn(batch, net.in_chans, *net.image_size, generator=dice).to(next(net.parameters()).device)
    made: Quantized | None = None
    with TemporaryDirectory() as work:
        if precision == "int8":
            names = tuple(name for name in candidates if name in IN_INT8) if candidates != CANDIDATES else IN_INT8
            made = _quantized(model, net, backend, calibrate, evaluate, count=calibration_count, max_drop=max_drop,
                              sensitivity=sensitivity, batch=batch, candidates=names, data_dir=data_dir, tell=tell)
            report = made.report
        else:
            _only_int8({"calibrate": calibrate, "evaluate": evaluate, "max_drop": max_drop,
                        "sensitivity": sensitivity or None})
            report = optimize_in(Path(work), net, example, backend, precision, candidates=candidates, tell=tell).report
        said, zeros = could_save(net)
        if said:
            tell(said)
        with whole_files(folder, DEPLOYED, OURS, "name another folder with --out") as fresh:
            _fill(fresh, made, Path(work) / report.chosen, net, example, precision)
            copy_manifest(model if isinstance(model, str | Path) else None, fresh)
            _describe(fresh, made, report, net, example, precision, zeros)
    return report


def deployed(folder: str | Path, device: str | torch.device | None = None) -> Deployed | Segmenter:
    """The network in a folder that `deploy` wrote, ready to answer on `device`; a ConvatlasError says what the folder
    lacks. One that scores pixels is a `Segmenter` whose scores its engine gives.

    Without `device` it answers on the GPU, where there is one and the folder's backend runs there, else on the CPU.
    """
    folder = Path(folder).expanduser()
    about = described(folder)
    backend, precision = backend_of(about["backend"]), about["precision"]
    where = torch.device(device or ("cuda" if torch.cuda.is_available() and "cuda" in backend.devices else "cpu"))
    example = torch.zeros(about["example"], device=where)
    backend.check(example, precision)
    if not (folder / backend.file).exists():
        raise ConvatlasError(f"{str(folder)!r} lacks {backend.file}: deploy it again")
    use("auto", about["macs"] * len(example), where)
    try:
        if (folder / FITTED).is_file():
            bounded.safetensors_head(folder / FITTED)
        fitted = load_file(folder / FITTED) if (folder / FITTED).is_file() else {}
        run = backend.open(folder, example, precision)
        net = (_with_engine(folder, run, where) if about.get("segments")
               else Deployed(run, about, fitted, where).eval())
    except ConvatlasError:
        raise
    except Exception as error:      # on broken files engines raise nearly anything
        raise ConvatlasError(f"the network in {str(folder)!r} cannot be opened ({' '.join(str(error).split())[:200]}): "
                             "deploy again") from error
    net.card = replace(net.card, provenance=Provenance(path=str(folder.resolve())))
    return net


def _with_engine(folder: Path, run: Predictor, device: torch.device) -> Segmenter:
    """The network that scores pixels, whose engine answers on `device` wherever the images are."""
    net = of_pixels(load(folder / NETWORK).eval())
    net.engine = lambda x: run(floating(x).to(device)).to(x.device)
    return net


def _any_size(net: Segmenter, backend: str, precision: Precision, candidates: Sequence[str]) -> Sequence[str]:
    """The candidates that take images of any size, as a network that scores pixels must; others are a ConvatlasError.
    """
    if precision == "int8":
        raise ConvatlasError(f"{net.name} scores pixels, and int8 is made and judged for networks that classify: leave "
                             "--precision out")
    if backend in ONE_SIZE:
        raise ConvatlasError(f"{net.name} scores pixels of images of any size, and {backend} is made for one: take "
                             f"{', '.join(name for name in BACKENDS if name not in ONE_SIZE)} or auto")
    return [name for name in candidates if name not in ONE_SIZE]


def _fill(folder: Path, made: Quantized | None, built: Path, net: Convnet, example: Tensor,
          precision: Precision) -> None:
    """The engine's files: those in int8, or those that are in `built`, or, where the backend needed none, those it
    writes.
    """
    if made is not None:
        for name, content in made.files.items():
            put(folder / name, content)
    elif found := list(built.iterdir()):
        for file in found:
            shutil.move(file, folder / file.name)
    else:
        backend_of(built.name).write(net, example, precision, folder)
    if isinstance(net, Segmenter) and not (folder / NETWORK).exists():
        write_folded(net, folder / NETWORK)
    if net.card.fitted:
        put(folder / FITTED, to_bytes(dict(net.card.fitted)))


def _describe(folder: Path, made: Quantized | None, report: Report, net: Convnet, example: Tensor,
              precision: Precision, zeros: Mapping[str, float]) -> None:
    """The page and deploy.json, once the engine has read its files back and answered as it must."""
    engine = backend_of(report.chosen)
    try:
        scores = engine.open(folder, example, precision)(example)
    except (RuntimeError, ValueError, OSError) as error:        # some engines write half a file without a word
        raise ConvatlasError(f"{engine.name} cannot read back what was written to {str(folder.parent)!r} "
                             f"({' '.join(str(error).split())[:200]}); is the disk full?") from error
    off = difference(made or net, example, scores)
    if not off <= TOLERANCE["fp32" if made else precision]:
        raise ConvatlasError(f"what {engine.name} reads back from {str(folder.parent)!r} differs by {off:.1e} of the "
                             "largest output")
    if made is not None:        # random images say nothing about int8: take what was found on the calibration images
        off = next(c.error or 0.0 for c in report.candidates if c.name == report.chosen)
    about = _about(net, report, precision, example, engine.file, off) | ({"zeros": dict(zeros)} if zeros else {})
    put(folder / PAGE, readme(about))
    put(folder / DEPLOYED, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def _quantized(model: str | Path | Convnet, net: Convnet, backend: str, calibrate: Pictures | None,
               evaluate: Labeled | None, *, count: int, max_drop: str | float | None, sensitivity: bool, batch: int,
               candidates: Sequence[str], data_dir: str | None, tell: Tell) -> Quantized:
    """`net` in int8; of a run folder the run's data stands in where no pictures are given."""
    if not isinstance(model, Convnet):
        calibrate, evaluate = of_run(model, calibrate, evaluate)
    if calibrate is None:
        raise ConvatlasError("int8 needs pictures to calibrate with: give --calibrate DATA (calibrate=…), a folder of "
                             "pictures like those to come or a named data set")
    return quantize(net, calibrate, backend, count=count, evaluate=evaluate, max_drop=max_drop, sensitivity=sensitivity,
                    batch=batch, candidates=candidates, data_dir=data_dir, tell=tell)


def _only_int8(given: Mapping[str, object]) -> None:
    """A ConvatlasError for what only quantising takes."""
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise ConvatlasError(f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for precision int8, which "
                             "was not asked for: add --precision int8")


def _free(folder: Path, force: bool) -> Path:
    if folder.is_file():
        raise ConvatlasError(f"--out {str(folder)!r} is a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not is_deployed(folder) and not unfinished(folder, DEPLOYED):
            raise ConvatlasError(f"--out {str(folder)!r} holds other things than a deployed network: name a new folder")
        if is_deployed(folder) and not force:
            raise ConvatlasError(f"--out {str(folder)!r} holds a deployed network already: replace it with --force, or "
                                 "name another folder")
    return folder


def _of_size(net: Convnet, image_size: int | tuple[int, int]) -> Convnet:
    """The same network, with the same weights, that says it is for images of this size."""
    from copy import copy

    other = copy(net)
    other.card = replace(net.card, spec=replace(net.spec, image_size=image_size))
    return other


def written(card: Card, fit: str) -> dict[str, Any]:
    """A card as deploy.json has it; `fit` is how its pictures are in fact normalised."""
    preprocess, loss = conventions(card)
    return {"model": card.model, "fields": card.fields, "classes": list(card.classes),
            "preprocess": preprocess.model_dump(mode="json") | {"fit": fit}, "loss": loss.model_dump(mode="json")}


def read_back(about: Mapping[str, Any], fitted: Mapping[str, Tensor]) -> Card:
    """The card in deploy.json."""
    return replace(registry.card(about["model"], about["fields"]), classes=tuple(about["classes"]), fitted=fitted,
                   preprocess=Preprocess(**about["preprocess"]), loss=Loss(**about["loss"]))


def pictures_of(net: Convnet) -> dict[str, Any]:
    """`input` of deploy.json: how a picture is prepared for `net`."""
    shown = transforms(net)
    return {"channels": shown.in_chans, "size": list(shown.size), "fit": shown.fit, "mean": list(shown.mean),
            "std": list(shown.std), "resize": [max(1, round(side / shown.crop_pct)) for side in shown.size],
            "interpolation": shown.interpolation, "range": shown.range and list(shown.range)}


def _about(net: Convnet, report: Report, precision: Precision, example: Tensor, file: str,
           error: float) -> dict[str, Any]:
    """The contents of deploy.json. `input` is what a program without convatlas needs to prepare a picture."""
    given = pictures_of(net)
    return {
        "format": FORMAT if isinstance(net, Segmenter) else 1 if given["range"] is None else 2,
        **written(net.card, given["fit"]), "backend": report.chosen,
        "file": file, "precision": precision, **({"segments": True} if isinstance(net, Segmenter) else {}),
        "example": list(example.shape), "difference": error, "macs": macs(net),
        "input": given,
        "measured": [asdict(candidate) for candidate in report.candidates],
        "int8": None if report.int8 is None else asdict(report.int8),
        **({} if report.bf16 is None else {"bf16": asdict(report.bf16)}),
        "versions": versions(PACKAGES),
    }
