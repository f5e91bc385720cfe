"""Make the data that comes with the package from its sources: src/convatlas/data/{fashion_small,nuclei}.

uv run python benchmarks/embedded_data.py --data-dir DATA

DATA holds fashion-mnist/ (the four .gz files) and nuclei/{images,labels}. What is drawn is drawn by seed 0; a test marked
`data` holds the files equal to their sources.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from convatlas.data.binary import read_idx

HOME = Path(__file__).parents[1] / "src" / "convatlas" / "data"
FASHION = {"train": ("train", 1000), "test": ("t10k", 200)}     # part → its files' name, images of each class
NUCLEI = {"train": 64, "test": 16}                              # part → images
KINDS = 13, 2       # images of 80 that are stained (RGB) and bright grey ones, as in the source; the others are dark
SIDE = 160          # of a crop
LEAST = 3           # objects in a crop


def fashion(source: Path) -> None:
    """images.png, one image below another, training images first, and labels.txt, a digit for each."""
    draw, images, labels = np.random.default_rng(0), [], []
    for stem, count in FASHION.values():
        every = read_idx(source / f"{stem}-images-idx3-ubyte.gz", 3)
        classes = read_idx(source / f"{stem}-labels-idx1-ubyte.gz", 1)
        chosen = np.sort(np.concatenate([draw.permutation(np.flatnonzero(classes == each))[:count]
                                         for each in range(10)]))
        images.append(every[chosen])
        labels.append(classes[chosen])
    (HOME / "fashion_small").mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(images).reshape(-1, 28)).save(HOME / "fashion_small" / "images.png", optimize=True)
    text = "".join(map(str, np.concatenate(labels).tolist()))
    lines = [text[start : start + 100] for start in range(0, len(text), 100)]
    (HOME / "fashion_small" / "labels.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


def nuclei(source: Path) -> None:
    """{train,test}/{images,labels}: crops, each of another image, with the objects in them numbered from 1."""
    draw = np.random.default_rng(0)
    names = sorted(path.name for path in (source / "images").iterdir())
    kinds: dict[str, list[str]] = {"stained": [], "bright": [], "dark": []}
    for name in names:
        image = np.asarray(Image.open(source / "images" / name))
        kinds["stained" if image.ndim == 3 else "bright" if image.mean() > 100 else "dark"].append(name)
    stained, bright = KINDS
    counts = {"stained": stained, "bright": bright, "dark": sum(NUCLEI.values()) - stained - bright}
    crops: list[tuple[str, np.ndarray, np.ndarray]] = []
    for kind, count in counts.items():
        shuffled = [kinds[kind][i] for i in draw.permutation(len(kinds[kind]))]
        found = (cropped for name in shuffled if (cropped := crop(source, name, draw)) is not None)
        crops += itertools.islice(found, count)
    mixed = [crops[i] for i in draw.permutation(len(crops))]
    parts = {"train": mixed[: NUCLEI["train"]], "test": mixed[NUCLEI["train"] :]}
    for part, chosen in parts.items():
        for folder in ("images", "labels"):
            (HOME / "nuclei" / part / folder).mkdir(parents=True, exist_ok=True)
        for name, image, labels in chosen:
            Image.fromarray(image).save(HOME / "nuclei" / part / "images" / name, optimize=True)
            Image.fromarray(labels).save(HOME / "nuclei" / part / "labels" / name, optimize=True)


def crop(source: Path, name: str, draw: np.random.Generator) -> tuple[str, np.ndarray, np.ndarray] | None:
    """A square of an image and of its label map with at least LEAST objects; None where twenty draws find none."""
    image, labels = (np.asarray(Image.open(source / folder / name)) for folder in ("images", "labels"))
    for _ in range(20):
        top, left = (int(draw.integers(0, side - SIDE + 1)) for side in labels.shape)
        place = np.s_[top : top + SIDE, left : left + SIDE]
        found, numbered = np.unique(labels[place], return_inverse=True)
        if LEAST < len(found) <= 256 and found[0] == 0:
            return name, image[place], numbered.reshape(SIDE, SIDE).astype(np.uint8)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    data = parser.parse_args().data_dir
    fashion(data / "fashion-mnist")
    nuclei(data / "nuclei")
    for folder in ("fashion_small", "nuclei"):
        print(folder, sum(path.stat().st_size for path in (HOME / folder).rglob("*.*")))
