"""Tiles of networks that score pixels: the native kernels against torch as `convatlas segment RUN` runs it, in turns.

    uv run python benchmarks/native_tiles.py                # all; minutes of tuning each
    uv run python benchmarks/native_tiles.py unet           # this one anew

One thread, and seconds of the processor, which other programs on the machine disturb little; medians of five rounds. It
writes results/native_tiles.json and the table in docs/performance.md.
"""

import json
import statistics
import sys
import time
from copy import deepcopy
from pathlib import Path

import torch

from convatlas import create_model
from convatlas.deploy.backends.native import Sizes
from convatlas.deploy.choose import difference
from convatlas.deploy.graph.rewrite import rewrite
from convatlas.net.fold import fold_structure
from report import RESULTS, machine, put

PAGE, KEPT = Path(__file__).parents[1] / "docs" / "performance.md", RESULTS / "native_tiles.json"
TILES = {"unet": 572, "unet_same": 512, "unet_resnet34": 512, "fcn8s_vgg16": 500}
ROUNDS = 5


def measured(name: str) -> dict[str, float]:
    """Seconds of a tile by torch and by the kernels, before and after tuning, and the largest differences: of either
    from what torch finds in double precision, and of one from the other.
    """
    torch.manual_seed(0)
    model = create_model(name, image_size=TILES[name]).eval()
    if name.startswith("fcn"):              # whose scores begin at zero
        for layer in model.head.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.normal_(layer.weight, std=0.01)
    x = torch.randn(1, model.in_chans, *model.image_size)
    eager = fold_structure(deepcopy(model)).to(memory_format=torch.channels_last)
    sides = {"eager": eager, "usual": Sizes(rewrite(model), 1), "tuned": Sizes(rewrite(model), 1)}
    sides["tuned"].of(x).tune(x.numpy(), print)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    with torch.inference_mode():
        for turn in range(ROUNDS + 1):      # the first is not counted
            for side, run in sides.items():
                began = time.process_time()
                run(x.to(memory_format=torch.channels_last) if side == "eager" else x)
                if turn:
                    seconds[side].append(time.process_time() - began)
        ours, theirs = sides["tuned"](x), eager(x.to(memory_format=torch.channels_last))
        exact = deepcopy(eager).double()
        off = {"difference": difference(eager, x.to(memory_format=torch.channels_last), ours),
               "error": difference(exact, x.double(), ours), "torch_error": difference(exact, x.double(), theirs)}
    return {side: statistics.median(each) for side, each in seconds.items()} | off


def table(results: dict[str, dict[str, float]], where: dict[str, object]) -> str:
    """A row for each network."""
    lines = [f"Measured on: {where['processor']}, 1 thread, CPU time; torch {where['torch']}.", "",
             "| network | tile | torch, s | native, s | times faster | before tuning | native off | torch off | apart |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name, row in results.items():
        lines.append(f"| {name} | {TILES[name]} | {row['eager']:.2f} | {row['tuned']:.2f} | "
                     f"{row['eager'] / row['tuned']:.2f} | {row['eager'] / row['usual']:.2f} | {row['error']:.1e} | "
                     f"{row['torch_error']:.1e} | {row['difference']:.1e} |")
    return "\n".join(lines)


def main(names: list[str]) -> None:
    """Measure, and write."""
    torch.set_num_threads(1)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"results": {}}
    results = kept["results"]
    for name in names or [name for name in TILES if name not in results]:
        results[name] = measured(name)
        print(name, results[name], flush=True)
        KEPT.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")
    put(PAGE, {"tiles: written by benchmarks/native_tiles.py": table(results, machine())})


if __name__ == "__main__":
    main(sys.argv[1:])
