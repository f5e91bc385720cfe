"""EfficientNet (Tan & Le 2019), section 5.2 and Table 5: features of one set of images, fine-tuned on another.

The paper trains EfficientNets on ImageNet and fine-tunes them on eight other sets, with errors below those of networks
with about ten times as many weights; the lecture: state-of-the-art performance in transfer learning. What others
found before, and these figures rest on, is the claim that can be scaled down: beginning from weights of another task is
better than beginning from none.

Scaled down to EfficientNet-B0 of a quarter of its channels and 0.3 of its layers (no dropout, no stochastic depth,
BatchNorm's momentum 0.1) at 28×28 pixels. First 5 000 images of Fashion-MNIST: six epochs, batches of 50, AdamW, rate
0.002 along a cosine. Then 100 of the embedded digits, brought from 8×8 to 28×28, the same for every seed: 40 epochs,
batches of 20, AdamW, rate 0.001 along a cosine, thrice: from random weights, from those of the clothes with all of them
moving, and from those with all stages kept as they are. Each seed has its own clothes' network, whose best epoch on its
test images is taken, for these play no part in the second task. The rate is the same in all three, not chosen for each.
Five seeds; the error is that on the 360 digits held out, after the last epoch.

Holds: fine-tuned it is smaller than from random weights; and so it is with kept features. Clothes and digits are far
from one another, and small digits easy: what ImageNet's classes give to photographs, this cannot show.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..api import train
from ..data.source import open_data
from ..data.split import stratified
from ..engine.records import read_rows
from ..run import Data, Model, Optim, Preprocess, Run, Schedule, Train
from ..runs.folder import METRICS
from .machinery.pictures import dots
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NET, TARGET, IMAGES = "EfficientNet", "digits", 100
CLOTHES = "the clothes' weights"        # stands for the run folder
WAYS: Mapping[str, Mapping[str, Any]] = {       # how the second task begins
    "from scratch": {},
    "fine-tuned": {"model.weights": CLOTHES},
    "features kept": {"model.weights": CLOTHES, "train.freeze": ("stem", "stages")},
}


def transfer() -> Experiment:
    return Experiment(
        title="Do features of one set of images help with another?",
        paper="Tan & Le 2019, Table 5",
        claims=(
            Claim("fine-tuned on 100 digits, features of clothes err less than a network from random weights",
                  lambda seed: _less(seed, "fine-tuned"), "points of test error"),
            Claim("kept as they are, features of clothes err less than a network from random weights",
                  lambda seed: _less(seed, "features kept"), "points of test error"),
        ),
        measure=transferred,
        picture=by_way,
        quick=Protocol(
            arms=(Arm(NET, {}),),
            minutes=8,
            base=Run(
                model=Model(name="efficientnet_b0", fields={
                    "width": 0.25, "depth": 0.3, "stem": "cifar", "drop_rate": 0.0, "drop_path_rate": 0.0,
                    "norm_momentum": 0.1, "in_chans": 1, "image_size": 28}),
                data=Data(batch_size=50),
                preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
                optim=Optim(name="adamw", lr=2e-3, weight_decay=0.05, decay_bias=False),
                schedule=Schedule(name="cosine"),
                train=Train(epochs=6),
            ),
            images=Images("fashion-small", train=5000),
        ),
    )


def _less(seed: BySeed, way: str) -> float:
    return seed[NET]["from scratch"] - seed[NET][way]


def transferred(trial: Trial) -> Figures:
    """The test error on the digits of each of `WAYS`, beside the usual figures on the clothes."""
    assert trial.folder is not None
    first, target = trial.run, trial.folder / "digits.npz"
    few(target)
    second = first.change("data.source", str(target), "data.batch_size", 20, "optim.lr", 1e-3, "train.epochs", 40)
    figures = dict(final(trial))
    for way, changes in WAYS.items():
        run = second
        for field, value in changes.items():
            run = run.change(field, str(trial.folder) if value == CLOTHES else value)
        where = trial.folder / way.replace(" ", "-")
        train(run, out=where, force=True)
        figures[way] = 100 * (1 - read_rows(where / METRICS)[-1]["val_top1"])
    return figures


def few(path: Path) -> None:
    """An archive of `IMAGES` of the digits, stratified, and of all those held out."""
    digits = open_data(Data(source=TARGET))
    chosen = stratified(digits.train.labels, IMAGES / len(digits.train), 0)[1].tolist()
    parts = {"train": (digits.train, chosen), "val": (digits.val, list(range(len(digits.val))))}
    arrays = {}
    for part, (images, numbers) in parts.items():
        arrays[f"x_{part}"] = torch.stack([images.read(i) for i in numbers]).numpy()
        arrays[f"y_{part}"] = images.labels[numbers].numpy()
    np.savez(path, **arrays, classes=np.array(digits.classes))      # type: ignore[arg-type]


def by_way(results: Results) -> "Figure":
    """A row per way to begin: a dot per seed."""
    shown = Results(tuple(WAYS), {seed: {way: {"error": by_arm[NET][way]} for way in WAYS}
                                  for seed, by_arm in results.figures.items() if NET in by_arm}, {})
    return dots(shown, "error", "test error on digits, %", title="100 digits, after clothes")
