"""The data sets known by name: where their files may lie, and who reads them."""

from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import ConvatlasError
from ..files import cache_dir
from .arrays import channels_first, read_npz, scaled
from .binary import read_cifar, read_idx
from .classes import CIFAR10, CIFAR100, DIGITS, FASHION
from .images import Source, Tensors
from .split import Split


class Layout(NamedTuple):
    """One way in which a data set may lie on disk."""

    folders: tuple[str, ...]        # below --data-dir
    files: tuple[str, ...]          # all of them must lie in one of the folders
    read: Callable[[str, Path, list[Path], Split], Source]      # (name, folder, the files found, split)


class Named(NamedTuple):
    """A data set known by name."""

    classes: tuple[str, ...]
    torchvision: str                # its class there, which downloads it
    parts: tuple[Mapping[str, Any], Mapping[str, Any]]      # what asks it for the training part, and for the test part
    layouts: tuple[Layout, ...]


def read_named(name: str, data_dir: str | None, download: bool, split: Split) -> Source:
    """Open one of `NAMED`; the network is used only where `download` is true and the files are absent."""
    root = Path(data_dir).expanduser() if data_dir else cache_dir()
    source = _read_found(name, root, split)
    if source is None and download:
        _download(name, root)
        source = _read_found(name, root, split)
    if source is None:
        looked = "; ".join(
            f"{', '.join(layout.files)} in {' or '.join(str(root / folder) for folder in layout.folders)}"
            for layout in NAMED[name].layouts
        )
        raise ConvatlasError(
            f"{name} was not found: looked for {looked}. Give --data-dir with the folder where it lies, or --download"
        )
    return source


def _read_found(name: str, root: Path, split: Split) -> Source | None:
    for layout in NAMED[name].layouts:
        for folder in (root / each for each in layout.folders):
            found = [_present(folder / each) for each in layout.files]
            if all(found):
                return layout.read(name, folder, [path for path in found if path is not None], split)
    return None


def _present(path: Path) -> Path | None:
    """The file itself; idx files and binary ones also as `.gz`, and idx files also spelt `…-images.idx3-ubyte`."""
    packable = "-idx" in path.name or path.suffix == ".bin"
    names = [path.name + end for end in ("", ".gz")] if packable else [path.name]
    spelt = [*names, *(name.replace("-idx", ".idx") for name in names)]
    return next((path.with_name(name) for name in spelt if path.with_name(name).is_file()), None)


def _source(name: str, train: tuple[Any, Any], test: tuple[Any, Any]) -> Source:
    judged = _part(name, "test", *test)
    return Source(name, NAMED[name].classes, _part(name, "train", *train), judged, test=judged, parted=True,
                  layout=f"the files of {name}")


def _part(name: str, which: str, images: Any, labels: Any) -> Tensors:
    values = torch.from_numpy(np.asarray(labels).astype(np.int64))
    last = len(NAMED[name].classes) - 1
    where = f"the {which} part of {name}"
    if len(images) != len(values) or not len(values):
        raise ConvatlasError(f"{where} has {len(images)} images and {len(values)} labels; fetch its files again")
    if int(values.min()) < 0 or int(values.max()) > last:
        raise ConvatlasError(f"{where} has labels {int(values.min())}..{int(values.max())}, not 0..{last}")
    (pixels,), _ = scaled([channels_first(np.asarray(images), where)], where)
    return Tensors(torch.from_numpy(pixels), values, f"{name}:{which}")


def _idx(name: str, folder: Path, found: list[Path], split: Split) -> Source:
    train, train_labels, test, test_labels = found
    return _source(name, (read_idx(train, 3), read_idx(train_labels, 1)), (read_idx(test, 3), read_idx(test_labels, 1)))


def _npz(name: str, folder: Path, found: list[Path], split: Split) -> Source:
    return read_npz(found[0], split, NAMED[name].classes)


def _cifar10(name: str, folder: Path, found: list[Path], split: Split) -> Source:
    *batches, test = (read_cifar(path, CIFAR_RECORDS, label_bytes=1) for path in found)
    images, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    return _source(name, (images, labels), test)


def _cifar100(name: str, folder: Path, found: list[Path], split: Split) -> Source:
    train, test = found
    return _source(name, read_cifar(train, 5 * CIFAR_RECORDS, 2), read_cifar(test, CIFAR_RECORDS, 2))


def _torchvision(name: str, folder: Path, found: list[Path], split: Split) -> Source:
    """Through torchvision's class, for files that we do not read ourselves.

    CIFAR's Python version is pickled: torchvision's class compares every file's md5 with the published one before it
    unpickles, so that nothing but the original is ever loaded. SVHN's .mat files are compared in the same way.
    """
    root = folder.parent if folder.name.startswith("cifar-10") else folder
    parts = [_from_torchvision(name, root, which, download=False) for which in NAMED[name].parts]
    return _source(name, *((part.data, part.labels if name == "svhn" else part.targets) for part in parts))


def _download(name: str, root: Path) -> None:
    for which in NAMED[name].parts:
        _from_torchvision(name, root, which, download=True)


def _from_torchvision(name: str, root: Path, which: Mapping[str, Any], download: bool) -> Any:
    from torchvision import datasets

    try:
        return getattr(datasets, NAMED[name].torchvision)(str(root), **which, download=download)
    except (OSError, RuntimeError, ValueError, EOFError, IndexError, HTTPException) as error:
        reason = " ".join(str(error).split())
        if not download:
            raise ConvatlasError(f"the files of {name} in {str(root)!r} are damaged or altered: {reason}") from error
        raise ConvatlasError(
            f"{name} could not be downloaded into {str(root)!r}: {reason}. Fetch it by hand and give --data-dir"
        ) from error


CIFAR_RECORDS = 10_000      # images in one file of CIFAR-10; CIFAR-100 has five times as many in its training file

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
TRAIN_FLAG = ({"train": True}, {"train": False})
SPLIT_WORD = ({"split": "train"}, {"split": "test"})

NAMED: dict[str, Named] = {
    "mnist": Named(DIGITS, "MNIST", TRAIN_FLAG, (
        Layout((".", "mnist", "MNIST/raw"), IDX_FILES, _idx),
        Layout((".", "mnist"), ("mnist.npz",), _npz),
    )),
    "fashion-mnist": Named(FASHION, "FashionMNIST", TRAIN_FLAG, (
        Layout((".", "fashion-mnist", "FashionMNIST/raw"), IDX_FILES, _idx),
        Layout((".", "fashion-mnist"), ("fashion-mnist.npz",), _npz),
    )),
    "usps": Named(DIGITS, "USPS", TRAIN_FLAG, (
        Layout((".", "usps"), ("usps.npz",), _npz),
        Layout((".", "usps"), ("usps.bz2", "usps.t.bz2"), _torchvision),
    )),
    "cifar10": Named(CIFAR10, "CIFAR10", TRAIN_FLAG, (
        Layout((".", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"), BATCHES, _cifar10),
        Layout((".", "cifar10"), ("cifar10.npz",), _npz),
        Layout(("cifar-10-batches-py", "cifar10/cifar-10-batches-py"), ("data_batch_1", "test_batch"), _torchvision),
    )),
    "cifar100": Named(CIFAR100, "CIFAR100", TRAIN_FLAG, (
        Layout(
            (".", "cifar-100-binary", "cifar100", "cifar100/cifar-100-binary"), ("train.bin", "test.bin"), _cifar100
        ),
        Layout((".", "cifar100"), ("cifar100.npz",), _npz),
        Layout(("cifar-100-python", "cifar100/cifar-100-python"), ("train", "test"), _torchvision),
    )),
    "svhn": Named(DIGITS, "SVHN", SPLIT_WORD, (
        Layout((".", "svhn"), ("train_32x32.mat", "test_32x32.mat"), _torchvision),
        Layout((".", "svhn"), ("svhn.npz",), _npz),
    )),
}
