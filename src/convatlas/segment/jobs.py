"""Jobs: one image to be segmented, and the files that become of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConvatlasError
from .picture import TIFF, kind


@dataclass(frozen=True)
class Job:
    """One image and the files that become of it."""

    name: str                       # of its files
    source: Any
    image: str                      # what to call it
    labels: Path                    # as they are written part by part
    final: Path                     # where they lie in the end
    probabilities: Path | None
    overlay: Path | None
    instances: Path | None


def jobs_of(images: Sequence[Any], folder: Path, wanted: Collection[str]) -> list[Job]:
    """One job per image; `wanted` names files besides the labels. Two images of one name are a ConvatlasError."""
    jobs = [_job(image, number, folder, wanted) for number, image in enumerate(images)]
    known: dict[str, str] = {}
    for job in jobs:
        if known.setdefault(job.name, job.image) != job.image:
            raise ConvatlasError(f"{known[job.name]!r} and {job.image!r} would both become {job.final.name!r}: rename "
                                 "one, or segment them into different folders")
    return jobs


RESULTS = ("labels", "probabilities", "overlay", "instances")


def without_results(images: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """The images, and those files among them that an earlier segmentation of others of them left in the folder."""
    def made_of(image: str) -> str | None:
        name, _, what = Path(image).stem.rpartition(".")
        return name if what in RESULTS and Path(image).resolve().parent == folder.resolve() else None

    sources = {Path(image).stem for image in images if made_of(image) is None}
    results = {image for image in images if made_of(image) in sources}
    return [image for image in images if image not in results], sorted(results)


def _job(image: Any, number: int, folder: Path, wanted: Collection[str]) -> Job:
    path = Path(image) if isinstance(image, str | Path) else None
    name = path.stem if path else f"image{number}"
    family = kind(path) if path else "picture"
    suffix = {"npy": ".npy", "zarr": ".zarr", "tiff": ".tif"}.get(family, ".tif"
                                                                  if path and path.suffix.lower() in TIFF else ".png")
    suffixes = {"probabilities": ".zarr" if family == "zarr" else ".npy", "overlay": ".png", "instances": ".tif"}
    shares, overlay, instances = (folder / f"{name}.{what}{end}" if what in wanted else None
                                  for what, end in suffixes.items())
    final = folder / f"{name}.labels{suffix}"
    labels = folder / f".{name}.labels.npy" if family == "picture" else final
    return Job(name, image, str(path or name), labels, final, shares, overlay, instances)
