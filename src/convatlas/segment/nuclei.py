"""Nuclei: squares of real microscopy with each nucleus numbered, of the Data Science Bowl 2018, which come along."""

from importlib.resources import as_file

from torch import Tensor

from ..data.embedded import folder
from ..data.images import read_image

NUCLEI = "nuclei"       # what the data set is called
COUNTS = {"train": 64, "test": 16}


def nuclei(part: str) -> list[tuple[Tensor, Tensor]]:
    """Pairs of image, uint8 (1 or 3, 160, 160), and nuclei int64 (160, 160) from 1, 0 being the background."""
    with as_file(folder(NUCLEI) / part) as place:
        return [(read_image(path), read_image(place / "labels" / path.name)[0].long())
                for path in sorted((place / "images").iterdir())]
