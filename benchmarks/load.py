"""Time and memory of building a network from a file of weights: ours against timm and torchvision on the same file.

    uv run python benchmarks/load.py [resnet50 vgg16 convnext_large]

torchvision's own network with random weights is written once as .pth (which torchvision and we read) and, under timm's
names, as .safetensors (which timm and we read). Each measurement is a process of its own, which imports everything
first, reads the file once to have it in the page cache, and then builds: seconds, and how far its resident memory rises
above what it was before, at its highest. Rounds alternate between the libraries; medians are kept. The networks give
equal scores.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import earlier, save

NETWORKS, ROUNDS = ("resnet50", "vgg16", "convnext_large"), 5
WAYS = (("pth", "torchvision"), ("pth", "convatlas"), ("safetensors", "timm"), ("safetensors", "convatlas"))


def prepare(name: str, folder: Path) -> None:
    """Both files."""
    import torch
    from torchvision.models import get_model

    import convatlas

    torch.manual_seed(0)
    torch.save(get_model(name, weights=None).state_dict(), folder / f"{name}.pth")
    convatlas.convert_weights(folder / f"{name}.pth", folder / f"{name}.safetensors", "timm", name)


def high() -> int:
    """The process's highest resident memory in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(name: str, kind: str, library: str, folder: Path) -> dict[str, float]:
    """In this process."""
    import time

    import timm
    import torch
    from torchvision.models import get_model

    import convatlas

    path = folder / f"{name}.{kind}"
    size = len(path.read_bytes())
    convatlas.list_models("resnet50")
    with torch.device("meta"):
        convatlas.create_model("resnet18")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")        # the highest from now on
    before, began = high(), time.perf_counter()
    model: Any
    if library == "convatlas":
        model = convatlas.create_model(name, weights=path)
    elif library == "timm":
        model = timm.create_model(name, checkpoint_path=str(path))
    else:
        model = get_model(name, weights=None)
        model.load_state_dict(torch.load(path, weights_only=True))
    seconds, rise = time.perf_counter() - began, high() - before
    torch.manual_seed(0)
    with torch.inference_mode():
        scores = model.eval()(torch.randn(1, 3, 64, 64)).flatten()[:3].tolist()
    return {"seconds": seconds, "memory": rise / size, "megabytes": size / 1e6, "scores": scores}


def main(names: list[str]) -> None:
    """Measure in alternation, and keep the medians beside those of other networks on the same machine."""
    results: dict[str, Any] = earlier("load")
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            prepare(name, Path(folder))
            runs: dict[tuple[str, str], list[dict[str, Any]]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for kind, library in WAYS:
                    words = [sys.executable, __file__, "--measure", name, kind, library, folder]
                    runs[kind, library].append(json.loads(subprocess.run(words, check=True, capture_output=True,
                                                                         text=True).stdout))
            first = runs[WAYS[0]][0]["scores"]
            assert all(abs(a - b) < 1e-3 for each in runs.values() for run in each
                       for a, b in zip(run["scores"], first, strict=True))
            figures = ("seconds", "memory", "megabytes")
            rows = {f"{library}, .{kind}": {what: statistics.median(run[what] for run in each) for what in figures}
                    for (kind, library), each in runs.items()}
            seconds = {way: rows[f"{way[1]}, .{way[0]}"]["seconds"] for way in WAYS}
            rows["ratios"] = {f"{library} / convatlas, .{kind}": seconds[kind, library] / seconds[kind, "convatlas"]
                              for kind, library in WAYS if library != "convatlas"}
            results[name] = rows
            print(name, json.dumps(rows, indent=1), flush=True)
            save("load", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:5], Path(sys.argv[5]))))
    else:
        main(sys.argv[1:])
