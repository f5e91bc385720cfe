"""The data that comes with the package: handwritten digits, a part of Fashion-MNIST, and the place of all of it."""

from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import torch

from .classes import DIGITS, FASHION
from .images import Source, Subset, Tensors, read_image


def read_digits() -> Source:
    """1 797 digits, uint8 (1, 8, 8); the 360 for validation are those that `digits/validation.txt` lists."""
    path = folder("digits") / "digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        counts, labels = archive["images"], archive["labels"]
    images = np.rint(counts[:, None] * (255 / 16)).astype(np.uint8)     # 0..16 set pixels of a 4×4 block
    digits = Tensors(torch.from_numpy(images), torch.from_numpy(labels), "digits")
    held = torch.zeros(len(digits), dtype=torch.bool)
    held[validation_indices()] = True
    train, val = (Subset(digits, part.nonzero().flatten()) for part in (~held, held))
    return Source("digits", DIGITS, train, val, parted=True, layout="digits that come along")


def validation_indices() -> list[int]:
    """The indices held out, rising."""
    text = (folder("digits") / "validation.txt").read_text(encoding="utf-8")
    return [int(word) for line in text.splitlines() if not line.startswith("#") for word in line.split()]


def read_fashion() -> Source:
    """1 000 training and 200 test images of each of Fashion-MNIST's ten classes, uint8 (1, 28, 28)."""
    labels = torch.tensor([int(digit) for digit in (folder("fashion_small") / "labels.txt").read_text("ascii")
                           if digit != "\n"])
    with as_file(folder("fashion_small") / "images.png") as path:
        pixels = read_image(path).reshape(len(labels), 1, 28, 28)       # one below another
    train, test = (Tensors(pixels[part], labels[part], f"fashion-small:{name}")
                   for name, part in (("train", slice(TRAINING)), ("test", slice(TRAINING, None))))
    return Source("fashion-small", FASHION, train, test, test=test, parted=True, layout="a part of Fashion-MNIST that "
                  "comes along")


def folder(name: str) -> Traversable:
    """The place of one of the embedded data sets."""
    return files(__package__) / name


def same_name(name: str) -> tuple[str, ...]:
    """A sentence where the user has a folder that is called like data that comes along."""
    return ((f"{name} is the data that comes along; the folder of that name here is ./{name}",) if Path(name).is_dir()
            else ())


TRAINING = 10_000       # images of fashion-small that are trained on, before those of the test part
EMBEDDED: Mapping[str, Callable[[], Source]] = {"digits": read_digits, "fashion-small": read_fashion}
