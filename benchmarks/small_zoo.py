"""Train the small networks whose weights come along, into src/convatlas/weights/zoo, and write their table into
docs/weights.md.

    uv run python benchmarks/small_zoo.py                   # all, a quarter of an hour on one core
    uv run python benchmarks/small_zoo.py lenet5.digits     # these alone; the others' cards stay

Each is trained by the command on its card, on one core. During training the "validation" part of fashion-small and
nuclei is their test part, and model.safetensors in a run folder holds the epoch that was best on it. Nothing may be
chosen on the images that it is judged by: what comes along are the weights of the last epoch, whose number was fixed
before. Numbers of tensors with two or more dimensions are kept in 16 bits, and what is then in the file is judged.
"""

import csv
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

import convatlas
from convatlas import weights
from convatlas.engine.checkpoint import newest
from convatlas.engine.distributed import world
from convatlas.engine.losses import probabilities
from convatlas.files import ZOO
from convatlas.net.card import Provenance
from convatlas.run import Data, Loss
from convatlas.runs.folder import run_of
from convatlas.segment.evaluate import PixelEvaluation
from convatlas.segment.manifest import judged_on
from convatlas.segment.metrics import pixel_metrics
from convatlas.segment.patches import WholeImages
from convatlas.segment.validation import validate
from convatlas.weights.pretrained import Shipped
from report import machine, put

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
LICENCES = {"digits": "CC BY 4.0", "fashion-small": "MIT", "nuclei": "CC0"}
SEED = 0
SMALL = "--image-size 16 --in-chans 1 --epochs 15"      # of digits, which have 8×8 pixels
QUICK = "--image-size 28 --in-chans 1 --epochs 6 --set augment.policy=none --set augment.erase=0"


class Row(NamedTuple):
    """One of them: how it is called, and how trained."""

    network: str
    id: str
    data: str
    how: str = ""

    @property
    def name(self) -> str:
        return f"{self.network}.{self.id}"

    @property
    def command(self) -> str:
        return f"convatlas train {self.network} {self.data} {self.how}".rstrip() + f" --seed {SEED}"


ROWS = (
    Row("lecun1989_zipcode", "digits", "digits"),
    Row("lenet5", "digits", "digits"),
    Row("lenet5", "fashion-small", "fashion-small", "--epochs 8"),
    Row("lenet5_modern", "digits", "digits"),
    Row("lenet5_modern", "fashion-small", "fashion-small", "--epochs 15 --set augment.policy=none"),
    Row("plain20_cifar", "digits", "digits", SMALL),
    Row("resnet20_cifar", "digits", "digits", SMALL),
    Row("resnet20_cifar", "digits-se", "digits", f"{SMALL} --set model.fields.excite.reduction=4"),
    Row("mobilenet_v2_035", "digits", "digits", "--image-size 16 --in-chans 1 --set model.fields.stem=cifar"),
    Row("repvgg_a0", "fashion-small", "fashion-small",
        f"{QUICK} --set model.fields.stem=cifar --set model.fields.a=0.25 --set model.fields.b=0.125 "
        "--set 'model.fields.layers=[1,2,4,1]'"),
    Row("convnext_tiny", "fashion-small", "fashion-small",
        f"{QUICK} --set model.fields.stem=cifar --set 'model.fields.channels=[12,24,48,96]' "
        "--set 'model.fields.blocks=[1,1,3,1]'"),
    Row("all_cnn_c", "fashion-small", "fashion-small",     # ReLU behind narrow class maps dies for whole classes
        f"{QUICK} --set model.fields.width=0.25 --set model.fields.rectified_scores=false "
        "--set model.fields.input_drop_rate=0 --set model.fields.drop_rate=0"),
    Row("unet_same", "nuclei", "nuclei"),
)


def trained(row: Row, folder: Path) -> float:
    """Make the run folder of a row by its command, in a process of one thread; the seconds that the processor was busy
    with it, which other programs do not change.
    """
    before = os.times()
    words = [sys.executable, "-m", *shlex.split(row.command), "--out", str(folder)]
    print(row.command, flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return os.times().children_user - before.children_user


def halved(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's last epoch, or their running average where it has one, in 16 bits."""
    last = newest(folder)
    assert last is not None and last.progress.epoch == run_of(folder).train.epochs, "it is not at its end"
    return {name: tensor.half() if tensor.dtype == torch.float32 and tensor.ndim > 1 else tensor
            for name, tensor in (last.extras("ema") or last.extras("model")).items()}


def judged(path: Path, data: str) -> tuple[dict[str, float], dict[str, object]]:
    """Figures of a file of weights on the images that none was trained on: for its metadata, and for its card."""
    found = convatlas.evaluate(path, data, device="cpu")
    if isinstance(found, PixelEvaluation):
        iou, interval = found.metrics.mean_iou, bootstrapped(path, data)
        return ({"val_iou": iou, "val_top1": found.metrics.accuracy},
                {"measure": "mean IoU", "figure": iou, "interval": interval, "images": found.result.count,
                 "part": found.part})
    top1 = found.evaluation.top1
    return ({"val_top1": top1, "val_loss": found.evaluation.loss},
            {"measure": "top-1", "figure": top1, "interval": found.interval, "images": found.evaluation.count,
             "part": found.part})


def bootstrapped(path: Path, data: str, samples: int = 10_000) -> tuple[float, float]:
    """95 % of the mean IoU of as many images drawn with replacement (percentiles), seed 0."""
    net, matrices = convatlas.load(path), []
    part = judged_on(None, Data(source=data), "test").images

    def each(index: int, scores: torch.Tensor) -> None:
        guess = probabilities(scores[None], net.card.loss or Loss())[0].argmax(0).flatten()
        truth = part.classes_of(index).flatten()
        matrices.append(torch.bincount(truth * net.num_classes + guess, minlength=net.num_classes**2)
                        .reshape(net.num_classes, -1))

    with world("cpu") as here:
        whole = validate(net, WholeImages(part, convatlas.transforms(net)), net.card.loss or Loss(), here,
                         net.num_classes, None, each=each)
    counts = torch.stack(matrices)
    assert whole is not None and torch.equal(counts.sum(0), whole.confusion), "the images are those of the whole"
    draws = np.random.default_rng(0).integers(0, len(counts), (samples, len(counts)))
    found = [pixel_metrics(counts[draw].sum(0)).mean_iou for draw in draws]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def made(row: Row) -> Shipped:
    """Train a row, put its file into the zoo, and measure what is there."""
    path = ZOO / f"{row.name}.safetensors"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        seconds = trained(row, folder)
        with (folder / "metrics.csv").open(encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        card, tensors = weights.read_card(folder), halved(folder)
    weights.save(path, tensors, replace(card, provenance=Provenance(row.data)))
    metrics, figures = judged(path, row.data)
    weights.save(path, tensors, replace(card, provenance=Provenance(
        row.data, {"epoch": float(last["epoch"]), **metrics})))
    params = sum(each.numel() for each in convatlas.load(path).parameters())
    here = machine()
    return Shipped(ours=row.network, id=row.id, params=params, data=row.data, licence=LICENCES[row.data],
                   command=row.command, epochs=int(last["epoch"]), seed=SEED, seconds=round(seconds, 1),
                   machine=f"one core of {here['processor']}, torch {here['torch']}", **figures)


def table(rows: Sequence[Shipped]) -> str:
    """The rows, for people."""
    lines = ["| name | parameters | trained by | seconds | measured (95 % confidence) | on | licence of the data |",
             "|---|--:|---|--:|---|---|---|"]
    for each in rows:
        low, high = each.interval
        lines.append(f"| `{each.name}` | {each.params:,} | `{each.command}` | {each.seconds:.0f} | {each.measure} "
                     f"{each.figure:.2%} ({low:.1%} to {high:.1%}) | {each.images:,}, {each.part} | {each.licence} |")
    total = sum(path.stat().st_size for path in ZOO.iterdir())
    return "\n".join([*lines, "", f"{total / 1e6:.1f} MB in all. Seconds are those that a core was busy with the command, from start "
                                  f"to end ({rows[0].machine}); intervals are Wilson's, of mean IoU those of 10 000 "
                                  "bootstrap samples of the images."])


def write(known: Mapping[str, Shipped]) -> None:
    """Cards and page anew."""
    rows = [known[row.name] for row in ROWS if row.name in known]
    plain = [{**asdict(each), "interval": list(each.interval)} for each in rows]
    (ZOO / "cards.yaml").write_text("# written by benchmarks/small_zoo.py\n" + yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    put(PAGE, {"weights that come along: written by benchmarks/small_zoo.py": table(rows)})


def main(names: Sequence[str]) -> None:
    """Make those that are named, or all; each is kept as soon as it is there."""
    if unknown := set(names) - {row.name for row in ROWS}:
        sys.exit(f"there is no {', '.join(sorted(unknown))}: {', '.join(row.name for row in ROWS)}")
    known = {each.name: each for each in weights.shipped()} if (ZOO / "cards.yaml").is_file() else {}
    ZOO.mkdir(exist_ok=True)
    for row in ROWS:
        if not names or row.name in names:
            known[row.name] = made(row)
            write(known)
            print(f"  {known[row.name].figure:.2%}, {known[row.name].seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
