"""The weights that are known for our networks: those that come along, zoo/cards.yaml, written by
benchmarks/small_zoo.py, and public ones, catalog/*.yaml, one file per family, written by benchmarks/catalog.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from .. import bounded
from ..files import ZOO
from ..run import Preprocess, read_yaml

Interpolation = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class Pretrained:
    """Weights that somebody trained and gave away."""

    id: str                         # what create_model(weights=…) takes
    ours: str                       # our network
    network: str                    # its name in their library
    classes: int
    image_size: int
    crop_pct: float
    interpolation: str
    licence: str
    mean: tuple[float, ...] | None = None       # None: ImageNet's
    std: tuple[float, ...] | None = None
    file: str = ""                  # what their library calls the file
    source: str = ""                # who trained them, or how
    top1: float | None = None       # per cent, as they report it
    top5: float | None = None

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing that these weights expect."""
        interpolation = self.interpolation if self.interpolation in Interpolation else "bicubic"
        return Preprocess(mean=self.mean, std=self.std, crop_pct=self.crop_pct, interpolation=cast(Any, interpolation))


@cache
def catalog() -> tuple[Pretrained, ...]:
    """All that are known, family by family."""
    found: list[Pretrained] = []
    for path in sorted(files(__package__).joinpath("catalog").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            variants = read_yaml(path.read_text(encoding="utf-8"))
            found += [_read(ours, row) for ours, rows in variants.items() for row in rows]
    return tuple(found)


@dataclass(frozen=True)
class Shipped:
    """Weights that come along, and how they came about; `figure` is measured on them as they are, in 16 bits.

    They are those of the last of a fixed number of epochs: no epoch was chosen on the images of `figure`.
    """

    ours: str                       # our network
    id: str                         # what create_model(weights=…) takes; `name` says both
    params: int
    data: str                       # what they were trained on
    licence: str                    # of the data
    command: str                    # which trained them
    epochs: int
    seed: int
    seconds: float                  # that a core was busy with the command
    machine: str
    measure: str                    # top-1, mean IoU
    figure: float                   # share, 0 to 1
    interval: tuple[float, float]   # of 95 % confidence
    images: int                     # on which it was measured, none of them trained on
    part: str                       # of the data: val, test

    @property
    def name(self) -> str:
        """Network and weights in one word, as commands take it."""
        return f"{self.ours}.{self.id}"


@cache
def shipped() -> tuple[Shipped, ...]:
    """All that come along, by network."""
    rows = read_yaml((ZOO / "cards.yaml").read_text(encoding="utf-8"))
    return tuple(Shipped(**{**row, "interval": tuple(row["interval"])}) for row in rows)


def published(library: str, network: str, classes: int) -> tuple[Pretrained, ...]:
    """Those of a library's network with as many classes."""
    return tuple(each for each in catalog()
                 if (each.id.partition("/")[0], each.network, each.classes) == (library, network, classes))


def _read(ours: str, row: Mapping[str, Any]) -> Pretrained:
    colors = {name: tuple(row[name]) for name in ("mean", "std") if name in row}
    return Pretrained(ours=ours, **{**row, **colors})


def of_file(path: Path) -> Pretrained | None:
    """The entry of a file that bears the name it was published under, or what timm's config.json beside it says."""
    config = beside(path)
    published = re.search(r"-[0-9a-f]{8}\.", path.name)      # the hash that torchvision puts into names
    by_name = next((each for each in catalog() if each.file == path.name), None) if published else None
    cfg = config.get("pretrained_cfg", config)
    if by_name is not None or "architecture" not in config or not isinstance(cfg, dict):
        return by_name
    tag = f"timm/{config['architecture']}.{cfg.get('tag', '')}"
    known = next((each for each in catalog() if each.id == tag), None)
    if known is not None or not {"mean", "std", "crop_pct", "input_size"} <= cfg.keys():
        return known
    try:
        return _described(tag, config, cfg)
    except (ValueError, TypeError, IndexError, KeyError):       # another program's config.json
        return None


def _described(tag: str, config: Mapping[str, Any], cfg: Mapping[str, Any]) -> Pretrained:
    """The entry that timm's config.json makes."""
    return Pretrained(tag, "", str(config["architecture"]), int(cfg.get("num_classes", 0)), int(cfg["input_size"][-1]),
                      float(cfg["crop_pct"]), str(cfg.get("interpolation", "bicubic")),
                      str(cfg.get("license", "none stated")),
                      tuple(map(float, cfg["mean"])), tuple(map(float, cfg["std"])))


def beside(path: Path) -> dict[str, Any]:
    """The config.json in the same folder, as timm's repositories have it; empty where there is none that is readable.
    """
    try:
        found = bounded.read_json(path.parent / "config.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
