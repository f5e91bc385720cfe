"""How fast networks answer on a GPU in bfloat16 as compiled here, beside timm's own, eager and compiled:
results/gpu.json.

    python benchmarks/gpu.py [NAME …] [--out FILE]      # all are compiled first, side by side; then each pair has the GPU alone
    python benchmarks/gpu.py --page                     # the table of docs/performance.md from the file

Eager is the library's model as its user gets it (NCHW); compiled is the same channels last, by torch.compile's mode
reduce-overhead (CUDA graphs). RepLKNet, which no library has, is compared with ours as trained. The same weights in
all, newly initialised; of each side the largest difference from the fp32 scores is told, relative to the largest, and
ours must not be half as much again as the library's eager model's. Each network and batch is a process, and its sides
take turns in it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

from report import RESULTS, put

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PANEL = ("resnet50", "convnext_tiny", "efficientnet_b0", "densenet121", "replknet_31b")
BATCHES = (1, 256)
ROUNDS = 7
TURN = 0.08             # seconds of each side in a round
LONGEST = 10            # seconds after which no further round begins, once there are three
PATIENCE = 240          # seconds for setting up


def main() -> None:
    """As the file's first lines say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PANEL))
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        worker(options.one[0], int(options.one[1]))
    elif not options.page:
        measure(options.names or list(PANEL), options.out)
    if options.page:
        put(PAGE, {"gpu": table(json.loads(options.out.read_text(encoding="utf-8")))})


def measure(names: list[str], out: Path) -> None:
    """Start a process for each pair; when all are set up or have failed, let each measure, and keep what it finds."""
    began = time.perf_counter()
    pairs = [(name, batch) for name in names for batch in BATCHES]
    running = {pair: subprocess.Popen([sys.executable, __file__, "--one", pair[0], str(pair[1])], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True) for pair in pairs}
    ready: list[tuple[str, int]] = []
    late = set(pairs)

    def wait(pair: tuple[str, int]) -> None:
        pipe = running[pair].stdout
        assert pipe is not None
        if pipe.readline().strip() == "ready":
            ready.append(pair)
            print(f"{time.perf_counter() - began:4.0f} s  {pair[0]}, batch {pair[1]} is set up",
                  file=sys.stderr, flush=True)
        late.discard(pair)

    threads = [threading.Thread(target=wait, args=(pair,), daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, PATIENCE - (time.perf_counter() - began)))
    for pair in late:
        running[pair].kill()
        print(f"{pair[0]}, batch {pair[1]}: not set up within {PATIENCE} s", file=sys.stderr, flush=True)
    found: list[dict[str, Any]] = []
    for pair in [pair for pair in pairs if pair in ready]:
        said, _ = running[pair].communicate("go\n")
        if running[pair].returncode:
            continue
        found.append(json.loads(said))
        out.write_text(json.dumps({"machine": machine(), "results": found}, indent=1, ensure_ascii=False) + "\n",
                       encoding="utf-8")
        row = found[-1]
        sides = (f"{name} {side['milliseconds']:.3f} ms ({side['ratio']:.2f}×, error {side['error']:.3f})"
                 for name, side in row["sides"].items())
        print(f"{row['model']:<16} {row['batch']:>4}  {', '.join(sides)}", flush=True)


def machine() -> dict[str, Any]:
    """The GPU and the versions that matter."""
    import torch

    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "python": platform.python_version(), **{name: version(name) for name in ("torch", "timm")}}


# -- one network at one batch ------------------------------------------------------------------------------------------


def worker(name: str, batch: int) -> None:
    """Set everything up and say so; at a line of stdin take turns, and print what was measured."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    import convatlas
    from convatlas.deploy.backends import BACKENDS
    from convatlas.deploy.bench.sides import PLAIN, prepare, theirs

    with tempfile.TemporaryDirectory() as folder:
        job: dict[str, Any] = {"model": name, "image_size": None, "folder": folder, "libraries": ["timm"]}
        job |= prepare(job)
        peer = theirs(next(iter(job["peers"]), PLAIN), job).cuda()
        net = convatlas.load(Path(folder) / "ours.safetensors").cuda().eval()
        x = torch.randn(batch, job["channels"], *job["size"], generator=torch.Generator().manual_seed(1)).cuda()
        few = x[:8]
        with torch.inference_mode():
            expected = peer(few)
        ours, _ = BACKENDS["compile"].build(net, x, "bf16", Path(folder))
    plain = peer.to(torch.bfloat16)
    last = deepcopy(plain).to(memory_format=torch.channels_last)
    compiled = torch.compile(last, dynamic=False, mode="reduce-overhead")
    half, turned = x.to(torch.bfloat16), x.to(torch.bfloat16, memory_format=torch.channels_last)
    sides: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "ours": (ours, turned), "compiled": (compiled, turned), "eager": (plain, half)}
    errors = {}
    with torch.inference_mode():
        for side, (call, given) in sides.items():
            for _ in range(3):
                scores = call(given)
            errors[side] = float((scores[:8].float() - expected).abs().max() / expected.abs().max())
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    print("ready", file=answer, flush=True)
    if not sys.stdin.readline():
        return
    times: dict[str, list[float]] = {side: [] for side in sides}
    with torch.inference_mode():
        began = time.perf_counter()
        while len(times["ours"]) <= ROUNDS and (len(times["ours"]) < 4 or time.perf_counter() - began < LONGEST):
            for side, (call, given) in sides.items():
                calls = max(1, min(100, int(TURN / max(1e-5, _seconds(call, given, 1)))))
                times[side].append(_seconds(call, given, calls))
    times = {side: each[1:] for side, each in times.items()}        # the first round wakes the GPU
    if errors["ours"] > 1.5 * errors["eager"]:
        raise SystemExit(f"{name}: ours differs by {errors['ours']:.3f}, the library's by {errors['eager']:.3f}")
    print(json.dumps({
        "model": name, "batch": batch, "size": list(job["size"]), "of": next(iter(job["peers"]), PLAIN),
        "sides": {side: {"milliseconds": statistics.median(each) * 1e3, "spread": [min(each) * 1e3, max(each) * 1e3],
                         "images_per_second": batch / statistics.median(each), "error": errors[side],
                         "ratio": statistics.median(other / own
                                                    for other, own in zip(each, times["ours"], strict=True))}
                  for side, each in times.items()}}), file=answer, flush=True)


def _seconds(call: Callable[[Any], Any], x: Any, calls: int) -> float:
    """Of one call, by the GPU's own clock."""
    import torch

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call(x)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


# -- the page ----------------------------------------------------------------------------------------------------------


def table(tree: dict[str, Any]) -> str:
    """Networks by rows; images per second and ratios."""
    about = tree["machine"]
    lines = [f"Measured on: {about['gpu']}; torch {about['torch']}, CUDA {about['cuda']}, cuDNN {about['cudnn']}, "
             f"timm {about['timm']}.", "",
             "| network | batch | ours, ms | images/s | × compiled | × eager | error ours / eager |",
             "|---|--:|--:|--:|--:|--:|--:|"]
    for row in tree["results"]:
        ours, compiled, eager = (row["sides"][side] for side in ("ours", "compiled", "eager"))
        lines.append(f"| {row['model']}{'' if row['of'] == 'timm' else ' (as trained)'} | {row['batch']} | "
                     f"{ours['milliseconds']:.2f} | {ours['images_per_second']:.0f} | {compiled['ratio']:.2f} | "
                     f"{eager['ratio']:.2f} | {ours['error']:.3f} / {eager['error']:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
