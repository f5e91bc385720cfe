"""An evaluation as plain values, for JSON."""

import math
from typing import Any, NamedTuple

from .calibration import Calibration
from .result import Evaluated


class Row(NamedTuple):
    """One class; shares are nan where there was nothing to share."""

    name: str
    images: int
    precision: float
    recall: float


def per_class(classes: tuple[str, ...], confusion: list[list[int]]) -> list[Row]:
    """A row for each class that an image is of, or was taken for."""
    called = [sum(column) for column in zip(*confusion, strict=True)]
    return [Row(name, sum(row), _share(row[i], called[i]), _share(row[i], sum(row)))
            for i, (name, row) in enumerate(zip(classes, confusion, strict=True)) if sum(row) or called[i]]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _heat(found: Calibration) -> dict[str, Any]:
    """Temperature, and the calibration error with it; none where the search ended at its bound, which is told."""
    if found.bound is not None:
        return {"temperature": None, "calibration_error_with_temperature": None, "temperature_bound": found.bound}
    return {"temperature": found.temperature, "calibration_error_with_temperature": found.cooled}


def figures(found: Evaluated, top_k: int) -> dict[str, Any]:
    """All of them; shares are 0 to 1."""
    result, calibration = found.evaluation, found.calibration()
    return {
        "top1": result.top1, "top1_interval": found.interval, "top5": found.top_k(5), f"top{top_k}": found.top_k(top_k),
        "loss": result.loss, "log_loss": found.log_loss, "count": result.count, "skipped": result.skipped,
        "images_per_second": result.images_per_second,
        **({} if result.mean_ap is None else {"mean_ap": result.mean_ap}),
        **({}
           if calibration is None else {"calibration_error": calibration.error, **_heat(calibration)}),
        "protocol": found.protocol.model_dump(mode="json"), "preprocess": found.preprocess,
        **({"members": [{"run": member.model, "weight": weight, "top1": member.evaluation.top1,
                         "top1_interval": member.interval, f"top{top_k}": member.top_k(top_k),
                         "log_loss": member.log_loss, "preprocess": member.preprocess}
                        for member, weight in zip(found.members, found.weights, strict=True)]} if found.members
           else {}),
        "classes": [{"class": row.name, "count": row.images, "precision": row.precision, "recall": row.recall}
                    for row in per_class(found.classes, result.confusion.tolist())],
    }
