"""An evaluation as files: confusion matrix, predictions, calibration."""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..draw.plots import confusion
from ..errors import ConvatlasError
from ..files import put, whole_write
from .calibration import Calibration, draw
from .result import Evaluated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144           # of a PNG: two pixels per unit of a figure
DRAWN = 100         # most classes whose confusion matrix a person can look at


def make_folder(path: Path) -> Path:
    """`path` as a folder that is there; ConvatlasError where it cannot be one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConvatlasError(f"cannot write to the folder {str(path)!r}: {error.strerror or error}") from error
    return path


def write(found: Evaluated, where: Path) -> list[Path]:
    """Write confusion.csv and .png (to 100 classes), predictions.csv, calibration.json and .png (of one label per
    image) into a folder.
    """
    make_folder(where)
    matrix, names = found.evaluation.confusion, found.classes
    rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    written = [csv_file(where / "confusion.csv", ["true \\ predicted", *names], rows),
               csv_file(where / "predictions.csv", ["image", "true", "predicted", "right", "probability",
                                                    "probability_of_true"], _predictions(found))]
    if len(names) <= DRAWN:
        written.append(png_file(where / "confusion.png", confusion(matrix, names)))
    calibration = found.calibration()
    if calibration is not None:
        written.append(put(where / "calibration.json", json.dumps(plain(calibration), indent=2) + "\n"))
        written.append(png_file(where / "calibration.png", draw(calibration)))
    return written


def plain(calibration: Calibration) -> dict[str, Any]:
    """As JSON has it: None for what is not a number."""
    def finite(values: dict[str, Any]) -> dict[str, Any]:
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}

    return {**finite(asdict(calibration)), "bins": [finite(asdict(part)) for part in calibration.bins]}


def _predictions(found: Evaluated) -> Iterator[list[object]]:
    seen, shares = found.evaluation, found.probabilities
    for row, index in enumerate(seen.indices.tolist()):
        label, said = seen.labels[row], int(seen.predictions[row])
        true = label.nonzero().flatten().tolist() if label.ndim else [int(label)]
        yield [found.images.name(index), "|".join(found.classes[i] for i in true),
               found.classes[said], int(seen.right[row]), f"{float(shares[row, said]):.6f}",
               "|".join(f"{float(shares[row, i]):.6f}" for i in true)]


def csv_file(path: Path, header: list[str], rows: Iterable[list[object]]) -> Path:
    """A table, written whole; ConvatlasError where it cannot be."""
    # names of files keep their bytes, whatever these are
    with whole_write(path) as beside, beside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def png_file(path: Path, figure: "Figure") -> Path:
    """A figure, likewise."""
    with whole_write(path) as beside:
        figure.savefig(beside, format="png", dpi=DPI, facecolor="#fdfdfc")
    return path
