"""What the atlas's pages of networks tell of speed, gathered from benchmarks/results into src/convatlas/atlas/speeds.json.

    uv run python benchmarks/speeds.py

Nothing is measured here: each line has our figure, how many times as fast it is as each of the others in the same interleaved
run, and the machine. A test fails where the results have changed and this was not run again.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from report import RESULTS

PATH = Path(__file__).parents[1] / "src" / "convatlas" / "atlas" / "speeds.json"
SIDES = {       # → as pages name them
    "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "compile": "torch.compile", "compiled": "torch.compile", "ncnn": "ncnn",
    "mnn": "MNN", "theirs, int8": "timm's network in int8 by OpenVINO", "onnxruntime, int8": "ONNX Runtime in int8",
    "openvino, int8": "OpenVINO in int8", "openvino, bf16": "OpenVINO in bf16", "openvino, fp32": "OpenVINO in fp32",
    "native, fp32": "native in fp32",
}
Tree = Mapping[str, Any]


class Line(NamedTuple):
    """One measurement of one network."""

    model: str
    what: str                       # what was done
    how: str                        # on how much of the machine, and which time counts
    ours: float
    unit: str                       # "ms", "s", or "images/s"
    beside: Mapping[str, float]     # side → how many times as fast as it ours is
    machine: str
    source: str                     # the benchmark
    weights: str = ""               # of those that come along


def read(name: str) -> Tree:
    """A file of results; empty where nothing was measured yet."""
    path = RESULTS / f"{name}.json"
    found: Tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def told(machine: Tree) -> str:
    """A machine in words, with the versions that matter."""
    head = machine.get("gpu") or f"{machine['cores']} cores of an {machine['processor']}"
    versions = {"torch": "torch", "timm": "timm", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "node": "node", "browser": ""}
    return ", ".join([head.replace("(R)", ""), *(f"{word} {machine[name]}".strip() for name, word in versions.items() if name in machine)])


def images(batch: int, size: Any) -> str:
    return f"{'an image' if batch == 1 else f'{batch} images'} of {'×'.join(map(str, size))}"


def ratios(sides: Mapping[str, float | None]) -> dict[str, float]:
    """Rounded, by the names that pages have; what was refused or not measured is left out."""
    return {SIDES.get(name, name): round(value, 2) for name, value in sides.items() if value}


def answers() -> Iterator[Line]:
    """As deployed, by `convatlas bench`'s machinery."""
    for file in ("inference", "engines"):
        tree = read(file)
        for each in tree.get("comparisons", ()):
            ours, *others = each["sides"]
            alone = each.get("threads")
            yield Line(each["model"], f"answers {images(each['batch'], each['size'])}, deployed ({each['backend']})",
                       f"{alone} thread, CPU time" if alone == 1 else f"{tree['machine']['threads']} threads, by the clock",
                       1e3 * ours["cpu" if alone else "latency"], "ms",
                       ratios({side["name"]: side["cpu_ratio" if alone else "ratio"] for side in others}),
                       told(tree["machine"]), "inference.py")


def halves() -> Iterator[Line]:
    """In bf16 by the native kernels, which may be the slower."""
    tree = read("bf16")
    for model, each in tree.get("results", {}).items():
        for batch in (1, 16):
            found = each[f"batch {batch}"]
            yield Line(model, f"answers {images(batch, (224, 224))}, deployed in bf16 (native)", "1 thread, CPU time",
                       found["cpu_ms"]["native, bf16"], "ms",
                       ratios({side: ratio for side, ratio in found["over_native_bf16"].items() if side != "native, bf16"}),
                       told(tree["machine"]), "bf16.py")


def integers() -> Iterator[Line]:
    """By the native kernels, which may be the slower."""
    tree = read("int8")
    for model, each in tree["results"].items():
        for batch in (1, 16):
            if (found := each.get(f"batch {batch}")) is not None:
                threads = each["threads"]
                yield Line(model, f"answers {images(batch, (224, 224))}, deployed in int8 (native)",
                           f"{threads} thread{'s' if threads > 1 else ''}, CPU time", found["cpu_ms"]["native, int8"], "ms",
                           ratios(found["native_over"]), told(tree["machine"]), "int8.py")


def starts() -> Iterator[Line]:
    tree = read("cold_start")
    for model, sides in tree["results"]["networks"].items():
        ours, found = min(((name, each) for name, each in sides.items() if name.startswith("convatlas")), key=lambda pair: pair[1]["median_s"])
        yield Line(model, "from a new process to the first scores, deployed", f"by the clock, {ours.partition(', ')[2]}", found["median_s"], "s",
                   {"timm": round(sides["timm, eager"]["median_s"] / found["median_s"], 2)} if "timm, eager" in sides else {},
                   told(tree["machine"]), "cold_start.py")


def steps() -> Iterator[Line]:
    for each in read("train_step")["results"].values():
        ours, theirs = each["sides"]["ours"], each["theirs"]
        yield Line(each["ours"], f"trains, batches of {each['batch']} at {each['size']}×{each['size']}", "by the clock",
                   ours["images_per_second"], "images/s", {"a plain loop" if theirs.startswith("plain") else "timm": round(ours["over_theirs"], 2)},
                   told(each["machine"] if "machine" in each else read("train_step")["machine"]), "train_step.py")


def large() -> Iterator[Line]:
    for model, each in read("large_kernels").get("results", {}).items():
        yield Line(model, f"trains a step of {images(each['batch'], (each['size'], each['size']))}, depthwise kernels native", "1 thread, CPU time",
                   each["sides"]["native, channels last"]["cpu_ms"], "ms",
                   {"torch, channels first": each["step_over_first"], "torch, channels last": each["step_over_last"]},
                   told(each["machine"]), "large_kernels.py")


def gpus() -> Iterator[Line]:
    tree = read("gpu")
    for each in tree["results"]:
        ours = each["sides"]["ours"]
        yield Line(each["model"], f"answers {images(each['batch'], each['size'])}, deployed on a GPU", "by the clock", ours["milliseconds"], "ms",
                   ratios({f"{each['of']}, eager" if name == "eager" else name: side["ratio"]
                           for name, side in each["sides"].items() if name != "ours"}), told(tree["machine"]), "gpu.py")


def tiles() -> Iterator[Line]:
    tree = read("native_tiles")
    for model, each in tree["results"].items():
        yield Line(model, "labels a tile of its own size, deployed (native)", "1 thread, CPU time", each["tuned"], "s",
                   {"torch, eager": round(each["eager"] / each["tuned"], 2)}, told(tree["machine"]), "native_tiles.py")


def pages() -> Iterator[Line]:
    """As WebAssembly."""
    tree = read("wasm")
    browser = tree.get("browser", {"networks": {}, "shipped": {}, "machine": tree["machine"]})
    for found, machine, where in ((tree["networks"], tree["machine"], "under node"),
                                  (browser["networks"], browser["machine"], "in a browser")):
        for model, each in found.items():
            yield Line(model, f"answers {images(1, (224, 224))} as WebAssembly {where}", "1 thread, CPU time",
                       1e3 * each["convatlas"]["cpu"], "ms", {"ONNX Runtime Web": round(each["times_as_fast"], 2)}, told(machine), "wasm.py")
    for name, each in browser["shipped"].items():
        yield Line(each["model"], "answers a picture in a page of the atlas", "1 thread, CPU time", 1e3 * each["page"]["cpu"], "ms",
                   {"predict in Python": round(each["predict"]["cpu"] / each["page"]["cpu"], 2)}, told(browser["machine"]),
                   "wasm.py", name)


def gathered() -> dict[str, Any]:
    """The document: machines by number, lines by network."""
    lines = [line for part in (answers, halves, integers, starts, gpus, tiles, pages, steps, large) for line in part()]
    machines = list(dict.fromkeys(line.machine for line in lines))
    networks: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        row = line._asdict() | {"ours": float(f"{line.ours:.4g}"), "machine": machines.index(line.machine)}
        networks.setdefault(row.pop("model"), []).append(row)
    return {"machines": machines, "networks": dict(sorted(networks.items()))}


def main() -> None:
    found = gathered()
    PATH.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{sum(map(len, found['networks'].values()))} lines of {len(found['networks'])} networks: {PATH}")


if __name__ == "__main__":
    main()
