"""A folder in which what the pages print can be run: small pictures, small runs, files of weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from printed import done

from convatlas.data.embedded import folder as embedded

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")     # of CIFAR-10


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits that come along, 8×8, and what they are."""
    with np.load(Path(str(embedded("digits"))) / "digits.npz") as archive:
        return np.uint8(archive["images"] * 15), np.uint8(archive["labels"])


def pictures(folder: Path, classes: dict[str, int], side: int = 32, suffix: str = ".jpg", seed: int = 0) -> None:
    """So many pictures of each class: a class's own pattern, with noise."""
    draw = np.random.default_rng(seed)
    for k, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        wave = 128 + 100 * np.sin((np.arange(side)[:, None] * (k % 3 + 1) + np.arange(side) * (k // 3)) / 4)
        for i in range(count):
            noise = draw.normal(0, 20, (side, side, 3))
            Image.fromarray(np.uint8(np.clip(wave[..., None] + noise, 0, 255))).save(folder / name / f"{i:04d}{suffix}")


def pairs(folder: Path, count: int) -> None:
    """The first nuclei, twice as large, as images beside masks that number them."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        for i, path in enumerate(sorted((Path(str(embedded("nuclei"))) / "train").glob(f"**/{kind}/*.png"))[:count]):
            Image.open(path).resize((320, 320), Image.Resampling.NEAREST).save(folder / kind / f"{i:04d}.png")


@pytest.fixture(scope="session")
def plain_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures only, in a second."""
    place = tmp_path_factory.mktemp("printed")
    pictures(place / "photos", {"flowers": 12, "rocks": 12})
    shutil.copy(place / "photos" / "flowers" / "0000.jpg", place / "rose.jpg")
    for name in ("picture.png", "seven.png"):
        Image.fromarray(digits()[0][7]).save(place / name)
    return place


@pytest.fixture(scope="session")
def whole_place(plain_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a page names, runs of an epoch among it."""
    import torch
    from torchvision.models import efficientnet_b0, resnet50

    place = tmp_path_factory.mktemp("whole") / "place"
    shutil.copytree(plain_place, place)
    pictures(place / "letters", dict.fromkeys("abcdefghijkl", 4), side=28)
    data = place / "DATA"
    for part, count in (("train", 6), ("test", 8)):
        pictures(data / "cifar10-small" / part, dict.fromkeys(CLASSES, count), seed=count)
    pairs(data / "nuclei", 12)
    pairs(place / "pairs", 6)
    shutil.copy(data / "nuclei" / "images" / "0000.png", place / "slide.tif")
    Image.open(place / "slide.tif").save(place / "slide.tif")
    torch.manual_seed(0)
    torch.save(resnet50().state_dict(), place / "resnet50-11ad3fa6.pth")
    shutil.copy(place / "resnet50-11ad3fa6.pth", place / "resnet50.pth")
    torch.save(efficientnet_b0().state_dict(), place / "b0.pth")
    mnist(data)

    runs, photos, small = place / "runs", place / "photos", data / "cifar10-small"
    for out, *words in (
            ("digits", "resnet18", "digits"), ("lenet5", "lenet5", "digits"),
            ("early", "lenet5_modern", "digits", "--recipe", "modern"),
            *((name, "lenet5_modern", photos, "--seed", seed, "--set", "data.split_seed=0")
              for seed, name in enumerate("abc")),
            ("photos", "resnet20_cifar", photos), ("resnet20", "resnet20_cifar", small),
            ("plain20", "plain20_cifar", small),
            ("se20", "resnet20_cifar", small, "--set", "model.fields.excite.reduction=4"),
            ("dense22", "densenet_40_12_cifar", small, "--set", "model.fields.layers=6"),
            ("cells", "unet_same", place / "pairs", "--set", "model.fields.widths=[8,16]", "--image-size", 64),
            ("nuclei", "unet_same", data / "nuclei", "--set", "model.fields.widths=[8,16]", "--image-size", 64)):
        done("train", *words, "--epochs", 1, "--out", runs / out)
    shutil.copytree(runs / "photos", runs / "flowers")
    return place


def mnist(folder: Path) -> None:
    """Digits in MNIST's format, and in that of USPS."""
    images, labels = (part[:200] for part in digits())
    wide = np.stack([np.asarray(Image.fromarray(image).resize((28, 28))) for image in images])
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", wide), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, array.ndim)) + b"".join(side.to_bytes(4) for side in array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    grey = np.stack([np.asarray(Image.fromarray(image).resize((16, 16))) for image in images]) / np.float32(255)
    np.savez(folder / "usps.npz", x_train=grey, y_train=labels, x_test=grey, y_test=labels)
