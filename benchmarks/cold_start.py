"""From nothing to the first answer: `convatlas predict` of a deployed folder against a script with timm's eager model,
as whole processes.

    uv run python benchmarks/cold_start.py                  # seven rounds; results/cold_start.json
    uv run python benchmarks/cold_start.py mobilenet_v2 --rounds 1 --no-save

The same weights (timm's network, newly initialised, its statistics moved), the same picture (a JPEG of 640×480), the
same preparation. The processes take turns, because the machine's speed drifts; the first round fills the file cache and
is not counted. Before that the answers are compared: the same class, its probability within 0.01.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from report import save

NETWORKS = {"resnet50": "resnet50", "mobilenet_v2": "mobilenetv2_100"}      # ours: timm's
ENGINES = ("onnxruntime", "openvino", "native")

EAGER = """
import sys

import timm
import torch
from PIL import Image
from safetensors.torch import load_file

name, weights, picture = sys.argv[1:]
model = timm.create_model(name)
model.load_state_dict(load_file(weights))
model.eval()
transform = timm.data.create_transform(input_size=(3, 224, 224), crop_pct=0.875, interpolation="bilinear")
with torch.inference_mode():
    scores = model(transform(Image.open(picture).convert("RGB"))[None])
best = scores.softmax(1)[0].topk(5)
for share, index in zip(best.values.tolist(), best.indices.tolist()):
    print(share, index)
"""


def main() -> None:
    """Print the table and keep it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("networks", nargs="*", choices=[*NETWORKS, []], default=[], metavar="NETWORK",
                       help=f"{', '.join(NETWORKS)}")
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--no-save", action="store_true")
    given = words.parse_args()
    results = {}
    for ours, theirs in ((name, NETWORKS[name]) for name in given.networks or NETWORKS):
        with tempfile.TemporaryDirectory() as folder:
            results[ours] = row = _measured(_prepared(ours, theirs, Path(folder)), given.rounds)
        for name, found in row.items():
            print(f"{ours:<14} {name:<24} {found['median_s']:.2f} s  ({found['min_s']:.2f} to {found['max_s']:.2f})  "
                  f"{found['times_timm']:.2f} of timm's", flush=True)
    if not given.no_save:
        save("cold_start", {"rounds": given.rounds, "networks": results})


def _prepared(ours: str, theirs: str, folder: Path) -> dict[str, list[str]]:
    """The command lines, whose answers are the same."""
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    import convatlas
    from convatlas.deploy import deploy

    torch.manual_seed(0)
    peer = timm.create_model(theirs)
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    weights, picture = folder / "weights.safetensors", folder / "picture.jpg"
    save_file(peer.state_dict(), weights)
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(picture, quality=90)
    model = convatlas.load(weights, ours)
    preprocess = convatlas.Run().preprocess.model_copy(update={"crop_pct": 0.875, "interpolation": "bilinear"})
    model.card = replace(model.card, preprocess=preprocess)
    commands = {"timm, eager": [sys.executable, "-c", EAGER, theirs, str(weights), str(picture)]}
    for engine in ENGINES:
        deploy(model, folder / engine, engine)
        commands[f"convatlas, {engine}"] = [sys.executable, "-m", "convatlas", "predict",
                                            str(folder / engine), str(picture)]
    share, index = _run(commands["timm, eager"])[1].splitlines()[0].split()
    for engine in ENGINES:
        best = json.loads(_run([*commands[f"convatlas, {engine}"], "--json"])[1])["images"][0]["predictions"][0]
        name = model.card.classes[int(index)] if model.card.classes else index
        if best["class"] != name or abs(best["probability"] - float(share)) > 0.01:
            raise SystemExit(f"{engine} says {best}, timm {share} {name}: what is not equal is not compared")
    return commands


def _measured(commands: dict[str, list[str]], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of whole processes, in turns."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for round_ in range(rounds + 1):
        for name, command in commands.items():
            seconds, _ = _run(command)
            if round_:
                times[name].append(seconds)
    first = median(times["timm, eager"])
    return {name: {"median_s": round(median(each), 3), "min_s": round(min(each), 3), "max_s": round(max(each), 3),
                   "times_timm": round(median(each) / first, 3), "seconds": [round(t, 3) for t in each]}
            for name, each in times.items()}


def _run(command: Sequence[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    main()
