"""Writes docs/training-speed.md from results/train_step.json, step_profile.json, large_kernels.json,
input_pipeline.json and jpeg_decoders.json.

    uv run python benchmarks/speed_page.py

Every number on the page comes from these files; what is said of a missed target follows from them too.
"""

import json
from pathlib import Path
from typing import Any

from report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "training-speed.md"
Tree = dict[str, Any]


def read(name: str) -> Tree:
    """A file of results; empty where nothing was measured yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def where(machine: Tree) -> str:
    return (f"{machine['cores']} cores of an {machine['processor']}, torch {machine['torch']}, Python "
            f"{machine['python']}")


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def page() -> str:
    steps, profiles, inputs = (read("train_step")["results"], read("step_profile").get("results", {}),
                               read("input_pipeline"))
    machines = {where(row["machine"]): None for row in steps.values()}
    return "\n".join([
        "# How fast training is",
        "",
        "Written by `benchmarks/speed_page.py` from what `benchmarks/train_step.py`, `step_profile.py` and "
        "`input_pipeline.py` measured:",
        f"on {'; '.join(machines)}. Their docstrings say how.",
        "",
        "## Training steps",
        "",
        "Images per second against the peers' own code, in alternating rounds, from the same weights on the same "
        "images, with the same",
        "losses. timm's networks are trained eagerly in the plain loop; LeNet-5 and ResNet-20 over whole epochs with "
        "their data, against",
        "PIL and a DataLoader. Ours is what `convatlas train` does by default.",
        "",
        *step_table(steps),
        "",
        *step_misses(steps, profiles),
        *large_kernels(read("large_kernels")["results"]),
        "## Reading images",
        "",
        f"Images per second from files or arrays to batches ({where(inputs['machine'])}): torchvision's datasets",
        "and transforms in a DataLoader against ours at the same number of workers.",
        "",
        *input_table(inputs["results"]),
        "",
        *input_misses(inputs),
        *jpegs(read("jpeg_decoders")),
        "## What to try",
        "",
        "`--auto` measures layout, precision and allocator for some seconds on the network itself and says what it "
        "chose. By hand: `--amp",
        "bf16` where the processor multiplies bfloat16 (the first table's last column), `--workers` where decoding "
        "takes longer than the",
        "step, `--cache disk` where the same files are read in run after run. [data.md](data.md) and "
        "[scaling.md](scaling.md) say more.",
        "",
    ])


def step_table(steps: Tree) -> list[str]:
    lines = ["| network | pixels | batch | theirs, images/s | ours, images/s | ours over theirs | by round | target | "
             "bf16 over theirs |", "|---|---|---|---|---|---|---|---|---|"]
    for row in steps.values():
        theirs, ours, bf16 = (row["sides"][side] for side in ("theirs", "ours", "bf16"))
        spread, target = ours["over_theirs_by_round"], wanted(row)
        reached = ("–" if target is None
                   else f"{target}×, " + ("reached" if ours["over_theirs"] >= target else "**missed**"))
        cells = (row["ours"], row["size"], row["batch"], theirs["images_per_second"], ours["images_per_second"],
                 times(ours["over_theirs"]), f"{min(spread):.2f} to {max(spread):.2f}", reached,
                 times(bf16["over_theirs"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def wanted(row: Tree) -> float | None:
    """The target of single precision; of ConvNeXt bfloat16 alone was asked for."""
    return None if row["ours"].startswith("convnext") else row["target"]


def step_misses(steps: Tree, profiles: Tree) -> list[str]:
    lines = []
    for name, row in steps.items():
        sides, target = row["sides"], wanted(row)
        if target is None or sides["ours"]["over_theirs"] >= target:
            continue
        text = f"**{row['ours']} misses {target}×: {times(sides['ours']['over_theirs'])}.**"
        if "theirs, no data" in sides:
            text += (" What is saved is the data. With batches that are tensors before the clock starts the plain loop "
                     f"itself comes to {times(sides['theirs, no data']['over_theirs'])}: the most that data which "
                     "costs nothing can bring.")
        if name in profiles:
            parts = profiles[name]["ours"]["per_cent"]
            shares = ", ".join(f"{kind} {share:g} %" for kind, share in parts.items() if share >= 1)
            text += (f" Our step ({profiles[name]['ours']['milliseconds_per_step']:g} ms) is, by the profiler: "
                     f"{shares}. The convolutions are the same oneDNN kernels on both sides, and nothing here "
                     "replaces them.")
        if "compiled" in sides:
            text += (f" `--compile` fuses what lies between them: {times(sides['compiled']['over_theirs'])}, after "
                     f"{sides['compiled']['first_round_seconds']:g} s in which it compiles and does a first round.")
        lines += [text, ""]
    return lines


PARTS = {"depthwise forward": "forward", "depthwise input gradient": "input gradient",
         "depthwise weight gradient": "weight gradient", "1×1 and linear": "1×1, linear",
         "other convolutions": "other convolutions", "normalisation": "normalisation", "rest": "rest"}
FIRST, OURS = "torch, channels first", "native, channels last"
STEP, PART = 4.0, 3.0       # targets of large_kernels.py, of the step for networks whose kernels are large
LARGE = ("replknet_31b", "slak_tiny")


def large_kernels(rows: Tree) -> list[str]:
    """What the native kernels for depthwise convolutions are to a training step."""
    machines = {where(row["machine"]): None for row in rows.values()}
    lines = ["## Large depthwise kernels", "",
             "Milliseconds of processor time of a training step, and of that each part, on one thread "
             f"({'; '.join(machines)}), in alternating",
             "rounds, with the same first losses; by `benchmarks/large_kernels.py`. `native` is `train.depthwise` "
             "([training.md](training.md#large-depthwise-kernels)):",
             "the first three parts are its kernels, the others torch's on all sides.", "",
             f"| network, batch at pixels | side | step | {' | '.join(PARTS.values())} |",
             "|---" * (3 + len(PARTS)) + "|"]
    for name, row in rows.items():
        for side, found in row["sides"].items():
            parts = (f"{found['parts_ms'][part]:.0f} ({100 * found['parts_ms'][part] / found['cpu_ms']:.0f} %)"
                     for part in PARTS)
            lines.append(f"| {name}, {row['batch']} at {row['size']} | {side} | {found['cpu_ms']:.0f} | "
                         f"{' | '.join(parts)} |")
    lines += ["", "| network | step over torch, channels first | over channels last | depthwise part over channels "
              "first | over channels last | step if that part took no time |", "|---|---|---|---|---|---|"]
    missed = []
    for name, row in rows.items():
        ours, limit = row["sides"][OURS], limit_of(row)
        spread = row["step_over_first_by_round"]
        lines.append(f"| {name} | {times(row['step_over_first'])} ({min(spread):.2f} to {max(spread):.2f}) | "
                     f"{times(row['step_over_last'])} | "
                     f"{times(row['depthwise_over_first'])} | {times(row['depthwise_over_last'])} | {times(limit)} |")
        if name in LARGE and row["step_over_first"] < STEP:
            share = 100 * sum(ours["parts_ms"][part] for part in list(PARTS)[:3]) / ours["cpu_ms"]
            missed.append(f"{name} {times(row['step_over_first'])}, of whose step depthwise convolutions are {share:.0f} "
                          f"%: without them it would be {times(limit)}")
    least = min(row["depthwise_over_last"] for row in rows.values())
    lines += ["", f"Targets: the depthwise part {PART:g}× torch's in channels last ({'reached' if least >= PART else 'missed'}"
              f": {times(least)} at least), the step of {' and '.join(LARGE)} {STEP:g}× torch's in channels first"
              + (f". **Missed by {'; '.join(missed)}.**" if missed else " (reached)."),
              "ConvNeXt and SLaK permute their maps in each block, and so compute in channels last whatever their images "
              "have.", ""]
    return lines


def limit_of(row: Tree) -> float:
    """The step's gain over torch's in channels first if the depthwise part of ours took no time."""
    ours = row["sides"][OURS]
    return row["sides"][FIRST]["cpu_ms"] / (ours["cpu_ms"] - sum(ours["parts_ms"][part] for part in list(PARTS)[:3]))


def input_table(results: Tree) -> list[str]:
    lines = ["| case | theirs | ours | ratio | by round | target |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        reached = ("–" if row["target"] is None
                   else f"{row['target']}×, " + ("reached" if row["ratio"] >= row["target"] else "**missed**"))
        lines.append(f"| {row['case']} | {row['peer_images_per_s']} | {row['ours_images_per_s']} | "
                     f"{times(row['ratio'])} | {row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f} | {reached} |")
    return lines


def input_misses(inputs: Tree) -> list[str]:
    results, cores = inputs["results"], inputs["machine"]["cores"]
    missed = [row for row in results["rows"] if row["target"] is not None and row["ratio"] < row["target"]]
    if not missed:
        return []
    alone = next((row for row in results["rows"] if row["case"].startswith("decoding alone")), None)
    lines = ["**Missed: "
             + "; ".join(f"{row['case']} ({times(row['ratio'])} of {row['target']}×)" for row in missed) + ".**"]
    if any("2 workers" in row["case"] for row in missed):
        lines.append(f"With two workers both sides keep the {cores} cores of this machine busy, so the ratio is that "
                     "of the work per image:\nwithout workers ours decodes with a thread per core, and the "
                     "peer with one.")
    if alone is not None:
        share = next((row for row in missed if "2 workers" in row["case"]), None)
        if share is not None:
            part = 100 * share["ours_images_per_s"] / (min(2, cores) * alone["ours_images_per_s"])
            lines.append("Decoding alone, which a relative of libjpeg does on both sides, comes to "
                         f"{alone['peer_images_per_s']} images a second in one thread of theirs\nand "
                         f"{alone['ours_images_per_s']} of ours: {part:.0f} % of what our workers do.")
    return [*lines, ""]


def jpegs(kept: Tree) -> list[str]:
    names, rows = ("Pillow", "simplejpeg", "OpenCV", "torchvision", "TorchCodec"), kept["results"]["rows"]
    first = rows[0]["images_per_s"]
    costs = {name: f"{100 - 100 * first[name] / first['torchvision']:.0f} %" for name in ("simplejpeg", "Pillow")}
    largest = max(each for row in rows for each in row["largest_difference"].values())
    return [
        "## Decoding JPEGs",
        "",
        "torchvision's decoder, with which the table above was measured, is deprecated since 0.29. Images per second of "
        "processor time, from",
        f"the bytes of a file to (3, H, W), on one thread ({where(kept['machine'])}); by `benchmarks/jpeg_decoders.py`:",
        "",
        f"| JPEGs | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|",
        *(f"| {row['case']} | {' | '.join(str(row['images_per_s'].get(name, '–')) for name in names)} |"
          for row in rows),
        "",
        f"All are libjpeg-turbo, and their pixels differ by {largest} of 255 at most. JPEGs are decoded by simplejpeg "
        "where it is installed",
        '(`uv pip install -e ".[jpeg]"`: MIT, wheels for Linux, macOS and Windows), else by Pillow; which of them, no '
        "pixel tells. Beside",
        f"torchvision's, simplejpeg costs {costs['simplejpeg']} of the speed at {rows[0]['case'].partition(',')[0]}, "
        f"Pillow {costs['Pillow']}. TorchCodec is as fast, but each of its versions is built",
        "for one of torch, and what answers without torch could not use it.",
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
