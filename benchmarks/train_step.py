"""Images per second of training, ours and the peers' own code, in alternating rounds: results/train_step.json.

    uv run python benchmarks/train_step.py [--only NAME …] [--rounds N]

Each side is a process of its own, for the allocator is set up per process, and works on command while the others wait.
All sides of a case start from the same weights and see the same images; before the clock starts their losses must
agree. `ours` is what `convatlas train` does by default, `bf16` the same with --amp bf16; `theirs` the plain loop in
plain.py. On whole passes over a data set there are more: theirs with two DataLoader workers, and with batches that are
tensors already (what remains when data costs nothing); and, where there is a C++ compiler, ours with --compile.
`CONVATLAS_DATA` names the folder of MNIST; without it the digits that come with convatlas stand in.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

from report import RESULTS, machine, save

TESTS = Path(__file__).parents[1] / "tests"
# Steps whose losses are compared. In single precision a sensitive network soon drifts: MobileNetV2's fourth loss
# differs by 3e-3 between two memory layouts, and in double precision not at all.
CHECKED = 2
TOLERANCE = 1e-3        # by which ours in fp32 may differ


@dataclass(frozen=True)
class Case:
    """A network of ours, the peer's, and the work of one round."""

    ours: str
    theirs: str                         # timm's name, or a class of plain.py
    target: float | None                # ours over theirs
    size: int
    batch: int
    steps: int                          # of one round
    data: str = ""                      # "mnist", "random": whole passes over a data set of that many steps
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[str, ...]:
        if not self.data:
            return "theirs", "ours", "bf16"
        return "theirs", "theirs, 2 workers", "theirs, no data", "ours", "bf16", *(("compiled",)
                                                                                   if which("c++") else ())


TIMM = {"norm_eps": 1e-5, "norm_momentum": 0.1, "drop_rate": 0.0}
#                     ours              theirs             target size batch steps
CASES = {
    "lenet5":    Case("lenet5_modern",  "LeNet",             2.2,  32,  64, 100, "mnist"),
    "resnet20":  Case("resnet20_cifar", "ResNet20",          1.3,  32, 128, 10, "random"),
    "resnet18":  Case("resnet18",       "resnet18",         1.25, 160,  32, 4),
    "resnet50":  Case("resnet50",       "resnet50",          1.3, 160,  32, 2),
    "mobilenet_v2": Case("mobilenet_v2", "mobilenetv2_100",  1.3, 160,  32, 4, fields=TIMM),
    "efficientnet_b0": Case("efficientnet_b0", "efficientnet_b0", 1.3, 160, 32, 4,
                            fields={**TIMM, "drop_path_rate": 0.0}),
    "densenet121": Case("densenet121",  "densenet121",       1.3, 160,  32, 2),
    "convnext_tiny": Case("convnext_tiny", "convnext_tiny", None, 160,  32, 2, fields={"drop_path_rate": 0.0}),
}
NORMALISE = {"mnist": (0.1307, 0.3081), "random": (0.5, 0.25)}
RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


# -- one side: a process that trains on command ------------------------------------------------------------------------


def work(name: str, side: str) -> None:
    """Check, warm up, then do one round for each line on stdin; every answer is one line of JSON."""
    import resource

    case = CASES[name]
    losses, rounds = (theirs(case, 2 if "2" in side else 0, "no data" in side) if side.startswith("theirs")
                      else ours(case, side))
    began = time.perf_counter()
    next(rounds)
    print(json.dumps({"losses": losses, "first_round_seconds": time.perf_counter() - began}), flush=True)
    for _ in sys.stdin:
        began, pages = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        images = next(rounds)
        answer = {"seconds": time.perf_counter() - began, "images": images,
                  "faults_per_step": (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages) / case.steps}
        print(json.dumps(answer), flush=True)


def peer(case: Case) -> Any:
    """The peer's network, always with the same weights."""
    import torch

    import plain

    torch.manual_seed(0)
    if case.data:
        return getattr(plain, case.theirs)()
    import timm

    return timm.create_model(case.theirs)


def pictures(case: Case) -> tuple[Any, Any, str]:
    """(uint8 images, labels, what they are) of a data set of `steps` batches."""
    import torch

    from convatlas.data import open_data
    from convatlas.data.loader import _pictures
    from convatlas.run import Data

    count = case.steps * case.batch
    dice = torch.Generator().manual_seed(1)
    if case.data == "random":
        return (torch.randint(256, (count, 3, case.size, case.size), generator=dice, dtype=torch.uint8),
                torch.randint(10, (count,), generator=dice), "random pictures of CIFAR-10's size")
    folder = os.environ.get("CONVATLAS_DATA")
    source = open_data(Data(source="mnist" if folder else "digits", data_dir=folder))
    chosen = torch.arange(count) % len(source.train)
    return _pictures(source.train, chosen), source.train.labels[chosen], source.name


def batch_of(case: Case) -> tuple[Any, Any]:
    import torch

    dice = torch.Generator().manual_seed(1)
    return (torch.randn(case.batch, 3, case.size, case.size, generator=dice),
            torch.randint(1000, (case.batch,), generator=dice))


def theirs(case: Case, workers: int, ready: bool = False) -> tuple[list[float], Iterator[int]]:
    """(losses of the first steps, rounds that give their numbers of images); `ready`: every batch is there before the
    clock starts.
    """
    import torch

    import plain

    model = peer(case)
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    if not case.data:
        one = batch_of(case)
        check: Any = [one] * CHECKED
        data: Any = [one] * case.steps
    else:
        images, labels, _ = pictures(case)
        mean, std = NORMALISE[case.data]
        how = {"mean": mean, "std": std, "size": case.size}
        first = case.batch * CHECKED
        check = plain.batches(images[:first], labels[:first], case.batch, **how, augment=False,
                              shuffle=False, workers=0)
        data = plain.batches(images, labels, case.batch, **how, augment=case.data == "random", shuffle=True,
                             workers=workers)
        data = list(data) if ready else data
    losses = list(plain.epoch(model, check, optimizer))

    def rounds() -> Iterator[int]:
        while True:
            yield sum(case.batch for _ in plain.epoch(model, data, optimizer))

    return losses, rounds()


def ours(case: Case, side: str) -> tuple[list[float], Iterator[int]]:
    """The same with convatlas: its loader, its step, its defaults."""
    import torch

    from convatlas import create_model
    from convatlas.data import Batch, Loader, Tensors, make_transform
    from convatlas.engine import allocator
    from convatlas.engine.distributed import World
    from convatlas.engine.losses import per_image
    from convatlas.engine.metrics import Tally, means
    from convatlas.engine.optim import optimizer
    from convatlas.engine.step import Step
    from convatlas.engine.threads import resolve_layout, threads_for
    from convatlas.net import layers
    from convatlas.run import Augment, Optim, Preprocess, Run, Train

    sys.path.insert(0, str(TESTS))
    from parity import transplant

    cpu = torch.device("cpu")
    model = create_model(case.ours, image_size=case.size, **case.fields)
    macs = layers.macs(model) * case.batch
    allocator.use("auto", macs, cpu)
    transplant(peer(case).eval(), model.eval(), torch.randn(2, model.in_chans, case.size, case.size))
    layout = resolve_layout(None, macs, cpu)
    model.train().to(memory_format=torch.channels_last if layout else torch.contiguous_format)
    run = Run(optim=Optim(lr=RATE, momentum=MOMENTUM, weight_decay=DECAY),
              train=Train(channels_last=layout, amp="bf16" if side == "bf16" else "off"),
              augment=Augment(crop="random", padding=4, flip=0.5) if case.data == "random" else Augment())
    if side == "compiled":
        model.compile()
    alone, tally = World(0, 1, cpu), Tally(cpu)
    step = Step(model, model, optimizer(model, run.optim), run, per_image(run.loss, model.num_classes),
                model.num_classes, alone, tally)

    def epoch(batches: Callable[[], Iterator[Batch]]) -> Iterator[float]:
        with threads_for(macs, cpu):
            for number, batch in enumerate(batches()):
                before = tally.sums[0].item()
                step(batch, 0, number)
                means(tally.sums)
                yield (tally.sums[0].item() - before) / case.batch

    if not case.data:
        images, labels = batch_of(case)
        batch = Batch(images, labels, torch.arange(case.batch), case.batch)
        losses = list(epoch(lambda: iter([batch] * CHECKED)))
        loaders = iter(lambda: lambda: iter([batch] * case.steps), None)
    else:
        images, labels, _ = pictures(case)
        mean, std = NORMALISE[case.data]
        preprocess = Preprocess(mean=(mean,), std=(std,), crop_pct=1.0)
        first = case.batch * CHECKED
        check = Loader(Tensors(images[:first], labels[:first]),
                       make_transform(preprocess, case.size, model.in_chans), case.batch)
        losses = list(epoch(lambda: check.epoch(0)))
        transform = make_transform(preprocess, case.size, model.in_chans, run.augment)
        loader = Loader(Tensors(images, labels), transform, case.batch, shuffle=True)
        numbers = iter(range(10**9))
        loaders = iter(lambda: lambda: loader.epoch(next(numbers)), None)

    def rounds() -> Iterator[int]:
        for batches in loaders:
            yield sum(case.batch for _ in epoch(batches))

    return losses, rounds()


# -- all sides together ------------------------------------------------------------------------------------------------


class Side:
    """A process that trains when told to."""

    def __init__(self, case: str, side: str) -> None:
        command = [sys.executable, __file__, "--worker", case, side]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer()
        self.rounds: list[dict[str, float]] = []

    def round(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rounds.append(self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process {self.process.args} ended with {self.process.wait()}; its message is above")
        return json.loads(line)

    def rates(self) -> list[float]:
        return [each["images"] / each["seconds"] for each in self.rounds]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One row: rates and ratios of a case."""
    case, load = CASES[name], os.getloadavg()[0]
    sides = {side: Side(name, side) for side in case.sides}
    wanted = sides["theirs"].ready["losses"]
    apart = {side: max(abs(a - b) / abs(b) for a, b in zip(here.ready["losses"], wanted, strict=True))
             for side, here in sides.items()}
    for side in ("ours", *(side for side in case.sides if side.startswith("theirs"))):
        if apart[side] > TOLERANCE:
            raise SystemExit(f"{name}: the losses of {side} {sides[side].ready['losses']} are not {wanted}: it "
                             "is other work")
    for number in range(rounds):
        for here in list(sides.values())[:: 1 if number % 2 else -1]:
            here.round()
    rates = {side: here.rates() for side, here in sides.items()}
    for here in sides.values():
        here.close()
    data = {"data": pictures(case)[2]} if case.data else {}
    return {
        "ours": case.ours, "theirs": f"plain.{case.theirs}" if case.data else f"timm {case.theirs}", **data,
        "size": case.size, "batch": case.batch, "steps_per_round": case.steps, "rounds": rounds, "target": case.target,
        "sides": {side: {
            "images_per_second": round(statistics.median(rates[side]), 1),
            "lowest": round(min(rates[side]), 1), "highest": round(max(rates[side]), 1),
            "over_theirs": round(statistics.median(rates[side]) / statistics.median(rates["theirs"]), 3),
            "over_theirs_by_round": [round(a / b, 3) for a, b in zip(rates[side], rates["theirs"], strict=True)],
            "page_faults_per_step": round(statistics.median(each["faults_per_step"] for each in here.rounds)),
            "first_round_seconds": round(here.ready["first_round_seconds"], 2),
            "losses_differ_by": float(f"{apart[side]:.2g}"),
        } for side, here in sides.items()},
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "load_before": round(load, 2), "machine": machine(),
    }


def show(name: str, row: dict[str, Any]) -> None:
    print(f"{name}: {row['ours']} and {row['theirs']}, {row['size']} pixels, batch {row['batch']}"
          + (f", whole passes over {row['data']}" if "data" in row else ""))
    for side, found in row["sides"].items():
        spread = found["over_theirs_by_round"]
        print(f"  {side:<18} {found['images_per_second']:>8} images/s ({found['lowest']} to {found['highest']})  "
              f"{found['over_theirs']:.2f}× ({min(spread):.2f} to {max(spread):.2f})  "
              f"{found['page_faults_per_step']:>7} page faults a step  losses differ by {found['losses_differ_by']}")
    if row["target"] is not None:
        reached = row["sides"]["ours"]["over_theirs"] >= row["target"]
        print(f"  target {row['target']}×: {'reached' if reached else 'missed'}", flush=True)


def main() -> None:
    """Measure, print and keep; rows of cases that are not measured now stay as they were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    path = RESULTS / "train_step.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    for name in options.only:
        results[name] = measure(name, options.rounds)
        show(name, results[name])
        if not options.no_save:
            save("train_step", {key: results[key] for key in CASES if key in results})


if __name__ == "__main__":
    main()
