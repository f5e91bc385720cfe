"""A network, data and a runner small enough for tests. As a script it trains, and leaves its outcome in a folder:

    torchrun --nproc-per-node 2 engine_toys.py '[["FOLDER", {"net": "plain", "stop": 5}]]'
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convatlas import run
from convatlas.engine.distributed import World, world
from convatlas.engine.evaluate import evaluate
from convatlas.engine.train import Outcome, Silent, fit

CLASSES = 4


class Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    indices: Tensor
    total: int


class Pictures:
    """`count` random 8×8 pictures whose class is the quarter that is brighter."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator)
        self.pixels = torch.rand(count, 1, 8, 8, generator=generator)
        for pixels, label in zip(self.pixels, self.labels.tolist(), strict=True):
            pixels[0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 0.5

    def __len__(self) -> int:
        return len(self.labels)


class Loader:
    """The data package's Loader in small: order from (seed, epoch), noise from (seed, epoch, index)."""

    def __init__(
        self,
        images: Pictures,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        noise: float = 0.0,
        rank: int = 0,
        size: int = 1,
        shares: int = 1,
    ) -> None:
        self.shares = shares        # one process takes each batch as so many would hold it, one share after the other
        self.images, self.batch, self.rank, self.size = images, batch_size, rank, size
        self.seed, self.shuffle, self.noise = seed, shuffle, noise
        self.steps = -(-len(images) // batch_size)
        self.skipped: dict[int, str] = {}
        self.stop_after: int | None = None      # batches handed out before this process is sent SIGINT

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = torch.arange(len(self.images))
        if self.shuffle:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(1000 * self.seed + epoch))
        for step in range(start, self.steps):
            whole = order[step * self.batch : (step + 1) * self.batch]
            whole = torch.cat([whole[share :: self.shares] for share in range(self.shares)])
            mine = whole[self.rank :: self.size]
            indices = mine if len(mine) else torch.tensor([-1])
            images = self.images.pixels[indices.clamp(min=0)].clone()
            for image, index in zip(images, indices.tolist(), strict=True):
                generator = torch.Generator().manual_seed(((self.seed * 100 + epoch) * 1000 + index) & 0xFFFFFF)
                image += self.noise * torch.randn(image.shape, generator=generator)
            if self.stop_after is not None:
                if self.stop_after == 0:
                    os.kill(os.getpid(), signal.SIGINT)
                self.stop_after -= 1
            yield Batch(images, self.images.labels[indices.clamp(min=0)], indices, len(whole))


def network(kind: str) -> nn.Module:
    """plain: the same on any number of processes; noisy: BatchNorm and dropout; normed: BatchNorm; frozen: noisy, first
    layer fixed.
    """
    torch.manual_seed(7)
    norm = nn.Identity() if kind == "plain" else nn.BatchNorm2d(6)
    drop = nn.Identity() if kind in ("plain", "normed") else nn.Dropout(0.3)
    stage = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.Tanh())
    net = nn.Sequential(nn.Conv2d(1, 6, 3), norm, nn.Tanh(), stage, nn.Flatten(), drop, nn.Linear(32, CLASSES))
    net[0].requires_grad_(kind != "frozen")
    return net


def settings(**over: Any) -> run.Run:
    """Three epochs of six steps of 16 (the last of 10 images); `over` as dotted fields, `optim__lr=0.1`."""
    base = run.Run(
        optim=run.Optim(lr=0.05, momentum=0.9, weight_decay=0.01),
        train=run.Train(epochs=3, device="cpu"),
        data=run.Data(batch_size=16),
    )
    changes = run.dotted([(key.replace("__", "."), value) for key, value in over.items()])
    return run.build(run.merge(base.model_dump(), changes))


def train(
    folder: Path,
    here: World,
    *,
    net: str = "noisy",
    noise: float = 0.3,
    stop: int | None = None,
    stop_val: int | None = None,
    resume: bool = False,
    watch: Any = None,
    model: nn.Module | None = None,
    shares: int = 1,
    **over: Any,
) -> tuple[nn.Module, Outcome]:
    """Train in `folder`, sending SIGINT as batch `stop` of this session is read (`stop_val`: of the validation)."""
    config = settings(**over)
    model = model or network(net)
    images, held = Pictures(90, seed=1), Pictures(37, seed=2)
    seed = config.train.seed
    place = {"rank": here.rank, "size": here.size}
    loader = Loader(images, config.data.batch_size, seed=seed, shuffle=True, noise=noise, shares=shares, **place)
    val = Loader(held, 16, **place)
    loader.stop_after, val.stop_after = stop, stop_val
    folder.mkdir(parents=True, exist_ok=True)

    def save_best(state: Any, row: Any) -> None:
        save_file(dict(state), folder / "model.safetensors")

    watch, place = watch or Silent(), {"world": here, "num_classes": CLASSES}
    return model, fit(model, loader, val, config, folder, resume=resume, save_best=save_best, watch=watch, **place)


class Notes(Silent):
    """A Watch that remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.steps: list[tuple[int, int, int, float]] = []
        self.rows: list[dict[str, float]] = []
        self.closed = False

    def step(self, epoch: int, step: int, images: int, loss: float, accuracy: float, images_per_second: float) -> None:
        self.steps.append((epoch, step, images, loss))

    def epoch(self, row: Any) -> None:
        self.rows.append(dict(row))

    def tell(self, text: str) -> None:
        self.told.append(text)

    def close(self) -> None:
        self.closed = True


def main() -> None:
    """One job after the other: [[folder, options of train()], …]. `stop_rank` says which process is sent the signal."""
    with world("cpu") as here:
        for folder, options in json.loads(sys.argv[1]):
            job(Path(folder), here, **options)


def job(folder: Path, here: World, *, stop: int | None = None, stop_rank: int = 0, **options: Any) -> None:
    notes = Notes()
    model, outcome = train(folder, here, watch=notes, stop=stop if here.rank == stop_rank else None, **options)
    told: dict[str, Any] = {"interrupted": outcome.interrupted, "told": notes.told, "epochs": outcome.epochs}
    loader = Loader(Pictures(37, seed=2), 16, rank=here.rank, size=here.size)
    measured = evaluate(model, loader, run.Loss(), here, CLASSES)
    told["loss"] = measured.loss
    told["indices"], told["confusion"] = measured.indices.tolist(), measured.confusion.tolist()
    (folder / f"told-{here.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)         # as convatlas.__main__ does, and says why
