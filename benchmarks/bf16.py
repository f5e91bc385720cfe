"""bf16 in figures: processor time of the native kernels and of OpenVINO, in bf16 and in fp32, and what bf16 does to the
scores.

    CONVATLAS_DATA=DATA uv run python benchmarks/bf16.py [resnet50 …] [--seconds 4] [--threads 1] [--keep] [--page]

224 pixels, batch 1 and 16, one process per network, in which the sides take turns; the first call of a turn is not
counted, and medians are kept of the processor's time, which other work on the machine does not add to. Caches and
memory it shares all the same: with `--keep`, for a machine that does nothing else, the figures become
results/bf16.json and a table in docs/performance.md (`--page` only writes that anew), else they are only printed. The networks are those of int8.py, with random weights and BatchNorm's
statistics measured on the images. `noise` is the squared difference of the scores from fp32's over their squared
spread.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from int8 import BATCHES, NETWORKS, cifar, place, settled
from report import RESULTS, earlier, put, save

SIDES = (("native", "bf16"), ("native", "fp32"), ("openvino", "bf16"), ("openvino", "fp32"))
IMAGES = 64


def measure(name: str, images: Path, seconds: float, threads: int, batches: list[int]) -> dict[str, Any]:
    """One network: set up all sides for each batch, compare their scores with fp32's, and time them in turns."""
    import torch

    import convatlas
    from convatlas.deploy.backends import BACKENDS
    from convatlas.deploy.int8.pictures import calibration
    from convatlas.engine.allocator import use
    from convatlas.net.layers import macs

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = convatlas.create_model(name, **NETWORKS[name][1]).eval()
    use("auto", macs(model) * max(batches), torch.device("cpu"))
    pictures = calibration(model, images, IMAGES)
    settled(model, pictures)
    with torch.inference_mode():
        expected = model(pictures[:32])
    spread = (expected - expected.mean(1, keepdim=True)).double().square().sum()
    rows: dict[str, Any] = {"macs": macs(model), "threads": threads, "images": len(pictures)}
    for batch in batches:
        x = pictures[torch.arange(batch) % len(pictures)].contiguous()
        sides, found = {}, {"bytes": {}, "noise": {}}
        for engine, precision in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                scores, size = BACKENDS[engine].build(model, x, precision, Path(folder))
                told = BACKENDS[engine].account(scores, x)
            side = f"{engine}, {precision}"
            sides[side], found["bytes"][side] = scores, size
            found["noise"][side] = ((scores(pictures[:32]) - expected).double().square().sum() / spread).item()
            if told is not None:
                found["layers"] = asdict(told)
        spent: dict[str, list[float]] = {side: [] for side in sides}
        began = time.perf_counter()
        while min(map(len, spent.values())) < 5 or time.perf_counter() - began < seconds * len(sides):
            for side, scores in sides.items():
                scores(x)
                start = time.process_time()
                scores(x)
                scores(x)
                spent[side].append((time.process_time() - start) / 2)
        middle = {side: statistics.median(times) for side, times in spent.items()}
        rows[f"batch {batch}"] = found | {
            "cpu_ms": {side: 1e3 * value for side, value in middle.items()}, "turns": len(spent["native, bf16"]),
            "over_native_bf16": {side: value / middle["native, bf16"] for side, value in middle.items()}}
    return rows


def page() -> None:
    """Put the table into docs/performance.md."""
    tree = json.loads((RESULTS / "bf16.json").read_text(encoding="utf-8"))
    lines = [f"Measured on: {place(tree['machine'])}, one thread. Images at 224 pixels; processor time of a batch by the native "
             "kernels in bf16, and how many times as long others take in the same turns, medians.", "",
             "| network | batch | CPU ms | by | native fp32 | OpenVINO bf16 | OpenVINO fp32 | noise, native / OpenVINO |",
             "|---|--:|--:|---|--:|--:|--:|--:|"]
    for name, rows in tree["results"].items():
        for batch in BATCHES:
            found = rows[f"batch {batch}"]
            ways = ", ".join(f"{count} {way}" for way, count in found["layers"]["bf16"].items())
            others = " | ".join(f"{found['over_native_bf16'][side]:.2f}" for side in ("native, fp32", "openvino, bf16", "openvino, fp32"))
            lines.append(f"| {name} | {batch} | {found['cpu_ms']['native, bf16']:.1f} | {ways} | {others} | "
                         f"{found['noise']['native, bf16']:.1e} / {found['noise']['openvino, bf16']:.1e} |")
    put(RESULTS.parents[1] / "docs" / "performance.md", {"bf16": "\n".join(lines)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, per side and batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--keep", action="store_true", help="write results/bf16.json: nothing else runs here")
    parser.add_argument("--page", action="store_true", help="write the table of what was kept, measure nothing")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure[0], Path(given.measure[1]), given.seconds, given.threads,
                                 given.batches)))
        return
    if given.page:
        page()
        return
    results: dict[str, Any] = earlier("bf16") if given.keep else {}
    with tempfile.TemporaryDirectory() as folder:
        images = cifar(Path(folder), {"train": 100})
        for name in given.names or NETWORKS:
            words = [sys.executable, __file__, "--measure", name, images, "--seconds", given.seconds,
                     "--threads", given.threads, "--batches", *given.batches]
            done = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, json.dumps(results[name], indent=1), flush=True)
            if given.keep:
                print(save("bf16", results))
    if given.keep:
        page()


if __name__ == "__main__":
    main()
