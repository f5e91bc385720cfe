"""Pictures to batches: our loader against torchvision's datasets and transforms in a DataLoader, at the same number of
workers.

    uv run python benchmarks/input_pipeline.py

JPEGs of 500×375 (smooth random textures, about 40 KB each), and arrays of 28×28 and of 32×32×3, all made from a seed;
images per second, medians of interleaved rounds. Peers are torchvision's transforms on Pillow images, as its reference
scripts use them. Torch has one thread; without workers our loader decodes files by a thread per core, and the peer by
one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from convatlas.data import Loader, Tensors, make_transform, open_data, prepared, read_image
from convatlas.run import Augment, Data, Preprocess
from report import save

FILES, ARRAYS, ROUNDS, BATCH = 256, 10_000, 5, 32
ALONE = "decoding alone, one thread"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Row = dict[str, Any]


def texture(random: np.random.RandomState) -> Image.Image:
    """Noise at four scales: about as many bytes, at quality 90, as a photograph of its size."""
    height, width = 375, 500
    total = np.full((height, width, 3), 128, np.float32)
    for cells, strength in ((4, 55), (16, 30), (64, 14), (128, 8)):
        noise = random.randn(cells, cells, 3).astype(np.float32)
        layers = [Image.fromarray(noise[:, :, c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        total += strength * np.stack([np.asarray(layer) for layer in layers], axis=-1)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def make_folder(root: Path) -> float:
    """Two classes of JPEGs; the mean size of a file in KB."""
    random, sizes = np.random.RandomState(0), []
    for number in range(FILES):
        path = root / "train" / "ab"[number % 2] / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        texture(random).save(path, quality=90)
        sizes.append(path.stat().st_size)
    return statistics.mean(sizes) / 1000


class Pictures(Dataset[Any]):
    """Arrays behind Pillow images, as torchvision's MNIST and CIFAR10 hand them out."""

    def __init__(self, arrays: np.ndarray[Any, Any], transform: Callable[[Image.Image], torch.Tensor]):
        self.arrays, self.transform = arrays, transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), 0


class Decoding:
    """Files through a reader, and nothing else."""

    def __init__(self, paths: Iterable[Path], read: Callable[[Path], Any]):
        self.paths, self.read = list(paths), read

    def __iter__(self) -> Iterator[list[list[Any]]]:
        return ([[self.read(path)]] for path in self.paths)


def compared(name: str, target: float | None, peer: Iterable[Any], ours: Callable[[int], Iterable[Any]],
             images: int) -> Row:
    """Both warmed up by an epoch of their own, then turn and turn about; a ratio per round, and the median of those."""
    def rate(batches: Iterable[Any]) -> float:
        began = time.perf_counter()
        seen = sum(len(batch[0]) for batch in batches)
        assert seen == images, (name, seen)
        return images / (time.perf_counter() - began)

    rate(peer), rate(ours(0))
    pairs = [(rate(peer), rate(ours(epoch))) for epoch in range(1, ROUNDS + 1)]
    peers, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(mine / other for other, mine in pairs)
    row = {"case": name, "peer_images_per_s": round(peers), "ours_images_per_s": round(own),
           "ratio": round(statistics.median(ratios), 2), "ratio_lowest": round(ratios[0], 2),
           "ratio_highest": round(ratios[-1], 2), "target": target}
    wanted = "" if target is None else f" (target {target}×)"
    print("  {case:<58} {peer_images_per_s:>8} {ours_images_per_s:>8}  {ratio:>6}×".format(**row) + wanted, flush=True)
    return row


def jpegs(root: Path) -> tuple[list[Row], float]:
    """The folder with and without workers; and the mean difference of evaluation's pixels, in normalised units."""
    normalize = [T.ToTensor(), T.Normalize(MEAN, STD)]
    judged = T.Compose([T.Resize(256), T.CenterCrop(224), *normalize])
    trained = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *normalize])
    still = make_transform(Preprocess(), 224, 3)
    moving = make_transform(Preprocess(), 224, 3, Augment(crop="resized", flip=0.5))
    source = open_data(Data(source=str(root)), for_eval=True)
    cases = [("evaluation: resize, centre crop", 1.8, judged, still, False),
             ("training: resized crop, flip", 1.5, trained, moving, True)]
    rows = []
    for workers in (0, 2):
        for name, target, theirs, mine, shuffle in cases:
            peer = DataLoader(ImageFolder(str(root / "train"), theirs), BATCH, shuffle=shuffle, num_workers=workers,
                              persistent_workers=workers > 0)
            images = prepared(source.train, Data(cache="off"), mine)
            loader = Loader(images, mine, BATCH, shuffle=shuffle, workers=workers)
            rows.append(compared(f"JPEG folder, {workers} workers, {name}", target, peer, loader.epoch, FILES))
    images = prepared(source.train, Data(cache="memory"), moving)
    loader = Loader(images, moving, BATCH, shuffle=True)
    peer = DataLoader(ImageFolder(str(root / "train"), trained), BATCH, shuffle=True)
    rows.append(compared("JPEG folder, 0 workers, training, ours with data.cache", 1.5, peer, loader.epoch, FILES))

    paths = sorted((root / "train").rglob("*.jpg"))
    decoding = Decoding(paths, lambda path: np.asarray(Image.open(path).convert("RGB")))
    rows.append(compared(ALONE, None, decoding, lambda epoch: Decoding(paths, read_image), FILES))

    pairs = zip(DataLoader(ImageFolder(str(root / "train"), judged), BATCH),
                Loader(source.train, still, BATCH).epoch(0), strict=True)
    return rows, max(float((theirs - mine.images).abs().mean()) for (theirs, _), mine in pairs)


def arrays() -> list[Row]:
    """Sets in memory."""
    random = np.random.RandomState(1)
    digits, colors = (random.randint(0, 256, (ARRAYS, *shape), dtype=np.uint8) for shape in ((28, 28), (32, 32, 3)))
    plain = T.Compose([T.Resize(32), T.ToTensor(), T.Normalize(0.5, 0.5)])
    cropped = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])
    rows = []
    for workers in (0, 2):
        peer = DataLoader(Pictures(digits, plain), BATCH, shuffle=True, num_workers=workers,
                          persistent_workers=workers > 0)
        still = make_transform(Preprocess(crop_pct=1.0), 32, 1)
        own = Loader(Tensors(torch.from_numpy(digits)[:, None], torch.zeros(ARRAYS)), still, BATCH, shuffle=True)
        rows.append(compared(f"28×28 in memory, peer with {workers} workers, resize to 32", 20, peer,
                             own.epoch, ARRAYS))
        peer = DataLoader(Pictures(colors, cropped), BATCH, shuffle=True, num_workers=workers,
                          persistent_workers=workers > 0)
        moving = make_transform(Preprocess(crop_pct=1.0), 32, 3, Augment(crop="random", padding=4, flip=0.5))
        own = Loader(Tensors(torch.from_numpy(colors).permute(0, 3, 1, 2), torch.zeros(ARRAYS)), moving,
                     BATCH, shuffle=True)
        rows.append(compared(f"32×32×3 in memory, peer with {workers} workers, crop and flip", 6, peer,
                             own.epoch, ARRAYS))
    return rows


def main() -> None:
    """Print the table and keep it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kilobytes = make_folder(Path(folder))
        print(f"{FILES} JPEGs of {kilobytes:.0f} KB in the mean; images per second: theirs, ours, ratio")
        rows, difference = jpegs(Path(folder))
    rows += arrays()
    print(f"evaluation's pixels differ by {difference:.4f} in the mean (normalised units)")
    save("input_pipeline", {"threads": torch.get_num_threads(), "jpegs": FILES,
                            "kilobytes_per_jpeg": round(kilobytes, 1), "batch": BATCH, "rounds": ROUNDS,
                            "mean_pixel_difference": round(difference, 4), "rows": rows})


if __name__ == "__main__":
    main()
