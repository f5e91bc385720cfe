"""A deployed folder's answers without torch: its engine, NumPy and Pillow are done before torch would be imported.

What it says is what `deploy.bundle.deployed` says, up to rounding: Pillow resizes here and torchvision there, and a
resized pixel sometimes differs by one step of 255.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import bounded
from ..errors import ConvatlasError
from ..files import DEPLOYED, check_format, is_deployed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# of deploy.json, as it is read here; 2 where `input` names a range of values, 3 where pixels are scored
FORMAT = 3
MANY = 64                               # pictures from which on weights are laid out as tuned
MAX_PIXELS = 2**26                      # of a resized picture, as in data/transform.py


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one picture, best first; `error` says why there are none."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    notes: tuple[str, ...] = ()     # keys of pixels.NOTES: what of the picture is not shown as it is stored


def answers(folder: str | Path, device: str = "auto") -> bool:
    """True if `predict` can answer from `folder`: its engine is here, runs on the CPU alone, and nothing measured
    prepares its pictures.
    """
    if device not in ("auto", "cpu") or not is_deployed(folder):
        return False
    try:
        about = described(folder)
        given = about["input"]
        return (about["backend"] in _ENGINES and _there(about["backend"]) and not about.get("segments")
                and given["fit"] == "none" and given["channels"] in (1, 3)
                and given["interpolation"] != "nearest")        # Pillow and torch round halves differently there
    except ConvatlasError:      # deploy.bundle.deployed says what is wrong with it
        return False


def predict(folder: str | Path, images: Sequence[str | Path], *, top_k: int = 5, batch_size: int = 64,
            strict: bool = False, max_pixels: int | None = None) -> list[Prediction]:
    """Predictions as `convatlas.predict` returns them, for picture files and a folder of which `answers` is true."""
    import numpy as np

    from ..pixels import Decoding, UnreadableImage, decode  # NumPy and Pillow

    about = described(folder)
    span = about["input"].get("range")
    how = Decoding(range=span and (span[0], span[1]), most=max_pixels)
    try:
        run = _ENGINES[about["backend"]](Path(folder).expanduser(), about, len(images))
    except ConvatlasError:
        raise
    except Exception as error:      # on broken files engines raise nearly anything
        raise _failed(folder, error) from error
    found: list[Prediction | None] = [None] * len(images)
    notes: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(images), batch_size):
        batch: dict[int, Floats] = {}
        for i in range(start, min(start + batch_size, len(images))):
            try:
                picture = decode(Path(images[i]), how)
                batch[i], notes[i] = prepared(picture.pixels, about["input"]), tuple(sorted(picture.notes))
            except UnreadableImage as error:
                if strict:
                    raise
                found[i] = Prediction(str(images[i]), (), (), str(error))
        if batch:
            try:
                scores = run(np.stack(list(batch.values())))
            except Exception as error:      # likewise
                raise _failed(folder, error) from error
            shares = probabilities(scores, about["loss"]["name"])
            names = about["classes"] or [str(i) for i in range(shares.shape[1])]
            if len(names) != shares.shape[1]:
                raise ConvatlasError(f"{str(folder)!r} names {len(names)} classes, and its network scores "
                                     f"{shares.shape[1]}: deploy again")
            for i, row in zip(batch, shares, strict=True):
                best = np.argsort(-row, kind="stable")[:top_k]
                found[i] = Prediction(str(images[i]), tuple(names[j] for j in best), tuple(row[best].tolist()),
                                      notes=notes[i])
    return [prediction for prediction in found if prediction is not None]


def _failed(folder: str | Path, error: Exception) -> ConvatlasError:
    return ConvatlasError(f"the network in {str(folder)!r} does not answer ({' '.join(str(error).split())[:200]}): "
                          "deploy again")


def prepared(pixels: "NDArray[np.uint8]", given: Mapping[str, Any]) -> "Floats":
    """Pixels (H, W) or (H, W, 3) as the network takes them: float32 (channels, h, w).

    `given` is `input` in deploy.json. Fitted into `resize`, the centre of `size` taken, black where the picture ends
    before, normalised: `data/transform.py` on Pillow.
    """
    import numpy as np
    from PIL import Image

    from ..pixels import UnreadableImage  # NumPy and Pillow

    if pixels.ndim == 3 and given["channels"] == 1:         # ITU-R BT.601, cut off to bytes as torchvision does
        red, green, blue = np.moveaxis(pixels.astype(np.float32), 2, 0)
        pixels = (red * np.float32(0.2989) + green * np.float32(0.587) + blue * np.float32(0.114)).astype(np.uint8)
    (high, wide), (box_h, box_w), (h, w) = pixels.shape[:2], given["resize"], given["size"]
    size = (box_h, box_h * wide // high) if box_h * wide >= box_w * high else (box_w * high // wide, box_w)
    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImage(f"a picture of {high}×{wide} pixels is too long to be resized")
    if size != (high, wide):
        pixels = np.asarray(Image.fromarray(pixels).resize(size[::-1],
                                                           Image.Resampling[given["interpolation"].upper()]))
    field = np.zeros((h, w, *pixels.shape[2:]), np.uint8)
    (top, to_top), (left, to_left) = _start(size[0], h), _start(size[1], w)
    part = pixels[top:top + h, left:left + w]
    field[to_top:to_top + part.shape[0], to_left:to_left + part.shape[1]] = part
    mean, std = np.array(given["mean"], np.float32), np.array(given["std"], np.float32)
    # grey: on all the network's channels
    values: Floats = (field.reshape(h, w, -1).astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _start(have: int, want: int) -> tuple[int, int]:
    """Offsets of the centre in the picture, and in the field that it is put into."""
    return (0, (want - have) // 2) if want > have else (round((have - want) / 2), 0)


def probabilities(scores: "Floats", loss: str) -> "Floats":
    """`engine.losses.probabilities` in NumPy: scores (N, K) of a network trained with `loss` to shares (N, K)."""
    import numpy as np

    shares: Floats
    if loss == "mse":
        shares = np.maximum((1 + scores) / 2, np.float32(1e-6))
    elif loss == "bce":
        return np.asarray(1 / (1 + np.exp(-scores.astype(np.float64))), np.float32)
    else:
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def silent() -> Any:
    """The package openvino, whose telemetry is off: a stand-in that sends nothing is in its place before it is
    imported.
    """
    # importing it then fails, and nothing is sent
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    The plugin of each further one gives the thread another signal stack, and one that is freed before a later one
    leaves the thread with freed memory as its stack: the next signal with a handler, such as that of an ended worker,
    kills the process.
    """
    core = silent().Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")        # the plugin is loaded now, before anybody else's
    return core


def open_session(path: Path, threads: int) -> Any:
    """ONNX Runtime's session on the CPU, which sends nothing home; `threads` 0: as many as there are cores."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


Run = Callable[["Floats"], "Floats"]


def _there(engine: str) -> bool:
    if engine == "native":
        from .native import missing  # NumPy

        return missing() is None
    return find_spec(engine) is not None


def _native(folder: Path, about: Mapping[str, Any], count: int) -> Run:
    import numpy as np

    from .native.stored import load  # NumPy

    network = load(folder, _threads(), few=count < MANY, precision=about["precision"])
    batch = max(1, int(about["example"][0]))
    if network.size != tuple(about["example"][1:]):
        raise ConvatlasError(f"{str(folder)!r}: {DEPLOYED} says images of {about['example'][1:]}, the network takes "
                             f"{list(network.size)}: deploy it again")
    return lambda x: np.concatenate([network(x[start : start + batch]) for start in range(0, len(x), batch)])


def _onnxruntime(folder: Path, about: Mapping[str, Any], count: int) -> Run:
    session = open_session(folder / about["file"], _threads())
    return lambda x: session.run(None, {"image": x})[0]


def _openvino(folder: Path, about: Mapping[str, Any], count: int) -> Run:
    core = openvino_core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if about["precision"] == "bf16" else "f32",
                "PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_NUM_THREADS": _threads()} if _threads() else {})}

    made: dict[tuple[int, ...], Any] = {}

    def run(x: "Floats") -> "Floats":
        if x.shape not in made:
            network = core.read_model(folder / about["file"])
            network.reshape(list(x.shape))
            made[x.shape] = core.compile_model(network, "CPU", settings)
        out: Floats = made[x.shape](x)[0].copy()
        return out

    return run


def _threads() -> int:
    """As many as OMP_NUM_THREADS says, which engines with threads of their own ignore; 0 where it says nothing."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


def described(folder: str | Path) -> dict[str, Any]:
    """The contents of deploy.json, every field of its kind; ConvatlasError for what `deploy` did not write."""
    try:
        about: dict[str, Any] = bounded.read_json(Path(folder).expanduser() / DEPLOYED)
        check_format(about["format"], FORMAT, repr(str(folder)))
        if wrong := next((name for name, sound in _sound(about) if not sound), None):
            raise ValueError(f"{wrong} is not what convatlas writes")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConvatlasError(f"{str(folder)!r} holds no deployed network: its {DEPLOYED} cannot be read "
                             f"({' '.join(str(error).split())}); deploy again") from error
    return about


def _sound(about: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Fields, and True for each that is of its kind."""
    given, loss = about["input"], about["loss"]
    channels, span = given["channels"], given.get("range")
    for name in ("model", "backend", "file", "precision"):
        yield name, isinstance(about[name], str) and not {*"/\\"} & {*about[name]}
    for name in ("fields", "preprocess"):
        yield name, isinstance(about[name], dict)
    yield "classes", isinstance(about["classes"], list) and all(isinstance(name, str) for name in about["classes"])
    yield "macs", _numbers([about["macs"]], 1, 0)
    yield "example", _numbers(about["example"], 4, 1, 2**16, int) and math.prod(about["example"]) <= MAX_PIXELS
    yield "loss", isinstance(loss["name"], str)
    yield "input.channels", about["example"][1] == channels
    yield "input.fit", isinstance(given["fit"], str)
    yield "input.interpolation", given["interpolation"] in ("nearest", "bilinear", "bicubic")
    yield "input.range", span is None or _numbers(span, 2)
    for name in ("size", "resize"):
        yield f"input.{name}", _numbers(given[name], 2, 1, 2**14, int)
    for name, least in (("mean", -math.inf), ("std", 1e-30)):
        yield f"input.{name}", any(_numbers(given[name], count, least) for count in (1, channels))


def _numbers(values: Any, count: int, least: float = -math.inf, most: float = 1e30, kind: Any = int | float) -> bool:
    """True for a list of so many numbers in a range."""
    return isinstance(values, list) and len(values) == count and all(
        isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most for value in values)


_ENGINES = {"native": _native, "onnxruntime": _onnxruntime, "openvino": _openvino}
