"""Features of pictures without a trained network: random patches of the pictures themselves as filters.

Patches of thumbnails are brought to mean 0 and deviation 1 and whitened; some of them, drawn at random, are the
filters. Their responses, both signs beyond a threshold, are averaged over nine fields (Coates, Lee & Ng 2011; that
random patches do nearly as well as learned ones: Coates & Ng 2011).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...data import Transform
from ...engine.threads import threads_for
from ...net.model import Convnet
from ..pictures import inputs
from ..vectors import embed
from .census import SIDE, Census, Watch
from .opened import Opened

PATCH, FIELDS, MOST = 6, 3, 128         # side of a patch, fields along a side, filters
BEYOND = 0.25                           # the threshold
FROM, PATCHES = 5000, 100_000           # pictures, and patches of them, that are whitened
CONTRAST, NOISE = 0.015, 0.1            # variances added: of a patch in 0..1, of a whitened component
AT_ONCE = 16                            # pictures whose responses stay in the processor's cache

Rows = NDArray[np.float16]


@dataclass(frozen=True)
class Patches:
    """The filters, fitted to some pictures."""

    kernel: Tensor          # (filters, C, PATCH, PATCH); patches need not be centred, for its sums are 0
    shift: Tensor           # (filters,)
    pool: Tensor            # (FIELDS², places)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (n, C, SIDE, SIDE) as float32 (n, 2 · FIELDS² · filters)."""
        x = images.float() / 255
        mean = F.avg_pool2d(x.mean(1, keepdim=True), PATCH, 1)
        power = F.avg_pool2d(x.square().mean(1, keepdim=True), PATCH, 1)
        responses = F.conv2d(x, self.kernel) * ((power - mean.square()).clamp(min=0) + CONTRAST).rsqrt()
        places = responses.flatten(2).mT + self.shift
        both = [self.pool @ (sign * places - BEYOND).relu_() for sign in (1, -1)]
        return torch.cat(both, 2).flatten(1)


def fitted(images: Tensor, filters: int, seed: int) -> Patches:
    """Filters for pictures like `images`, uint8 (n, C, SIDE, SIDE)."""
    dice, channels = torch.Generator().manual_seed(seed), images.shape[1]
    each = -(-PATCHES // len(images))

    def drawn(start: int) -> Tensor:        # some pictures at a time, for they have 729 patches each
        patches = F.unfold(images[start : start + AT_ONCE].float() / 255, PATCH).mT
        places = torch.rand(patches.shape[:2], generator=dice).argsort(1)[:, :each]
        return patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2])).flatten(0, 1)

    found = torch.cat([drawn(start) for start in range(0, len(images), AT_ONCE)])
    found = found - found.mean(1, keepdim=True)
    found = found / (found.var(1, keepdim=True, correction=0) + CONTRAST).sqrt()
    mean = found.mean(0)
    values, axes = torch.linalg.eigh((found - mean).T @ (found - mean) / len(found))
    whitening = axes @ torch.diag((values + NOISE).rsqrt()) @ axes.T
    white = (found - mean) @ whitening
    lengths = white.norm(dim=1)
    white = white[lengths >= 0.5 * lengths.median()]                # plain ones are no filters
    chosen = F.normalize(white[torch.randperm(len(white), generator=dice)[:filters]])
    kernel = whitening @ chosen.T
    shift = -(mean @ kernel)
    kernel = kernel - kernel.mean(0)
    along = torch.arange(SIDE - PATCH + 1) * FIELDS // (SIDE - PATCH + 1)
    fields = F.one_hot((along[:, None] * FIELDS + along).flatten()).float()
    pool = (fields / fields.sum(0)).T.contiguous()
    return Patches(kernel.T.reshape(-1, channels, PATCH, PATCH).contiguous(), shift, pool)


def of_thumbnails(census: Census, rows: NDArray[np.int64], folder: Path, workers: int, seed: int,
                  watch: Watch) -> Rows:
    """Features of the pictures `rows` from their thumbnails: float16 (n, width), in a file."""
    channels = 3 if census.colored else 1
    dice = np.random.RandomState(seed % 2**32)
    some = np.sort(rows[dice.permutation(len(rows))[:FROM]])
    with threads_for(0, torch.device("cpu")):
        patches = fitted(torch.from_numpy(np.asarray(census.thumbnails[some]))[:, :channels],
                         min(MOST, max(16, len(rows) // 16)), seed)
        found: Rows = np.memmap(folder / "features", np.float16, "w+",
                                shape=(len(rows), 2 * FIELDS**2 * len(patches.kernel)))

        def fill(start: int) -> None:
            here = rows[start : start + AT_ONCE]
            pixels = torch.from_numpy(np.asarray(census.thumbnails[here]))[:, :channels]
            found[start : start + AT_ONCE] = patches(pixels).half().numpy()

        step = 64 * AT_ONCE
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(rows), step):
                list(pool.map(fill, range(start, min(start + step, len(rows)), AT_ONCE)))
                watch("features", min(start + step, len(rows)), len(rows))
    return found


def of_network(model: Convnet, transform: Transform, opened: Opened, census: Census, rows: NDArray[np.int64],
               folder: Path, batch_size: int, watch: Watch) -> Rows:
    """Features of the pictures `rows` from the last hidden layer of `model`: float16 (n, width), in a file."""
    found: Rows | None = None
    place = {int(row): number for number, row in enumerate(rows)}
    starts = np.cumsum([0, *(len(part.images) for part in opened.parts)])
    done = 0
    for number, part in enumerate(opened.parts):
        chosen = (rows[census.part[rows] == number] - starts[number]).tolist()
        for indices, batch in inputs(part.images, chosen, transform, batch_size):
            vectors = embed(model, batch)
            if found is None:
                found = np.memmap(folder / "hidden", np.float16, "w+", shape=(len(rows), vectors.shape[1]))
            places = [place[index + int(starts[number])] for index in indices]
            found[places] = vectors.clamp(-6e4, 6e4).half().numpy()      # float16 ends at 65 504
            done += len(indices)
            watch("features", done, len(rows))
    assert found is not None
    return found


def joined(first: Rows, second: Rows, folder: Path) -> Rows:
    """Both features of each picture: float16 (n, width), in a file."""
    found: Rows = np.memmap(folder / "joined", np.float16, "w+",
                            shape=(len(first), first.shape[1] + second.shape[1]))
    for start in range(0, len(found), 4096):
        rows = slice(start, start + 4096)
        found[rows] = np.concatenate([first[rows], second[rows]], 1)
    return found
