"""`convatlas data check`: planted label errors and duplicates that it finds, its time, and its memory.

    uv run python benchmarks/data_check.py labels --data-dir DATA           # MNIST, Fashion-MNIST, CIFAR-10 (JPEG)
    uv run python benchmarks/data_check.py plant --data-dir DATA --out planted.npz      # 20 000 of CIFAR-10 (JPEG)
    uv run convatlas train resnet20_cifar planted.npz --epochs 3 --out RUN
    uv run python benchmarks/data_check.py run --run RUN --planted planted.npz          # by patches, and by that network
    uv run python benchmarks/data_check.py duplicates --data-dir DATA
    uv run python benchmarks/data_check.py scale                            # writes 100 000 JPEGs to a temporary folder
    uv run python benchmarks/data_check.py page                             # the tables in docs/data.md

DATA holds mnist/, fashion-mnist/ and cifar10-jpeg/train/<class>/*.jpg. Labels: 3 % of those of the training part are
given another class at random, five times; listed are those that the command lists by itself. Average precision is that
of the whole ranking; by chance it is the share that was planted. Duplicates: of some pictures of one folder a copy lies
in another class, one kind of change each. Targets: recall 0.9 at precision 0.7 on MNIST and Fashion-MNIST, all
duplicates, 100 000 images in 10 minutes. Every section is kept in results/data_check.json; times are of the clock, and
processor seconds beside them.
"""

import argparse
import functools
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from convatlas.inspect.check import check, features, label_errors
from convatlas.inspect.check.census import take
from convatlas.inspect.check.opened import open_all
from convatlas.run import Data
from report import RESULTS, save

FLIPPED, T_95 = 0.03, 2.776                 # Student's t for five values
SEEDS = range(100, 105)                     # the cut of the list was chosen by plantings 0 to 4, and is judged by others
SIZES, SIDE = (10_000, 100_000), 96
SCALES, LAYERS = {3: 0.6, 6: 0.5, 12: 0.35, 48: 0.15}, 300
PLANTED = 200
OF_RUN = 20_000          # pictures that a network is trained on


def silent(what: str, done: int, total: int) -> None:
    """No progress."""


def interval(values: list[float]) -> dict[str, float]:
    """Mean and half of its 95 % confidence interval over seeds."""
    return {"mean": round(statistics.mean(values), 4),
            "half": round(T_95 * statistics.stdev(values) / len(values) ** 0.5, 4) if len(values) > 1 else 0.0}


# -- labels ------------------------------------------------------------------------------------------------------------

def sources(data_dir: Path) -> dict[str, Data]:
    """The three sets."""
    return {"MNIST": Data(source="mnist", data_dir=str(data_dir)),
            "Fashion-MNIST": Data(source="fashion-mnist", data_dir=str(data_dir)),
            "CIFAR-10 (JPEG)": Data(source=str(data_dir / "cifar10-jpeg" / "train"))}


def flipped(labels: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is another class, and which they are."""
    dice = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), bool)
    wrong[dice.choice(len(labels), round(FLIPPED * len(labels)), replace=False)] = True
    made = labels.copy()
    made[wrong] = (labels[wrong] + dice.integers(1, classes, int(wrong.sum()))) % classes
    return made, wrong


def judged(found: np.ndarray, labels: np.ndarray, fold: np.ndarray, classes: int, folder: Path) -> dict[str, Any]:
    """The figures over seeds."""
    rows = []
    for seed in SEEDS:
        given, wrong = flipped(labels, classes, seed)
        began = time.process_time()
        every, listed = ranked(found, given, fold, classes, seed, folder)
        rows.append({**figures(wrong[every], listed), "processor_seconds": round(time.process_time() - began, 1)})
        print("   ", rows[-1], flush=True)
    return {"images": len(labels), "planted": FLIPPED, "chance": FLIPPED, "plantings": list(SEEDS), "seeds": rows,
            **{name: interval([row[name] for row in rows]) for name in ("recall", "precision", "average_precision")}}


def ranked(found: np.ndarray, given: np.ndarray, fold: np.ndarray, classes: int, seed: int,
           folder: Path) -> tuple[np.ndarray, int]:
    """All pictures, the most probably wrong first, and how many of them are listed."""
    kept, label_errors.PRECISION = label_errors.PRECISION, 0.0          # nothing is cut off
    try:
        every = label_errors.suspects(found, given, fold, classes, seed, folder, silent)
    finally:
        label_errors.PRECISION = kept
    means = np.cumsum(every.probability) / np.arange(1, len(given) + 1)
    return every.rows, int((means >= kept).sum())


def plant(data_dir: Path, out: Path) -> None:
    """Some pictures of CIFAR-10 (JPEG) as an .npz, with the labels of seed 0; `true` are those that they had."""
    images = open_all(sources(data_dir)["CIFAR-10 (JPEG)"], 0, None).parts[0].images
    some = np.sort(np.random.default_rng(0).choice(len(images), OF_RUN, replace=False))
    truth = images.labels.numpy()[some]
    np.savez(out, x=np.stack([images.read(int(i)).expand(3, -1, -1).permute(1, 2, 0).numpy() for i in some]),
             y=flipped(truth, 10, 0)[0], true=truth)


def by_run(run: Path, planted: Path) -> None:
    """Both kinds of features on the labels that the network was trained with."""
    from convatlas import zoo
    from convatlas.runs.folder import run_of
    from convatlas.weights.checkpoints import load

    results: dict[str, Any] = {"network": run_of(run).model.name, "epochs": run_of(run).train.epochs, "chance": FLIPPED}
    with tempfile.TemporaryDirectory() as place, np.load(planted) as archive:
        folder, model = Path(place), load(run)
        opened = open_all(Data(source=str(planted)), 0, run)
        census = take(opened, folder, 2, silent)
        # the parts' pictures are some of the archive's
        at = np.concatenate([part.images.indices.numpy() for part in opened.parts])
        rows, given, wrong = census.readable, census.label, (archive["y"] != archive["true"])[at]
        fold = census.digest[rows].view(("u8", 2))[:, 0].astype(np.int64) % label_errors.FOLDS
        patches = features.of_thumbnails(census, rows, folder, 2, 0, silent)
        hidden = features.of_network(model, zoo.transforms(model), opened, census, rows, folder, 64, silent)
        both = features.joined(patches, hidden, folder)
        for name, found in {"both": both, "patches": patches, "run": hidden}.items():
            every, listed = ranked(found, given, fold, 10, 0, folder)
            results[name] = figures(wrong[every], listed)
            print(name, results[name], flush=True)
    results["images"] = len(at)
    keep("run", results)


def figures(hits: np.ndarray, listed: int) -> dict[str, float]:
    """Of a ranking, true where the label is wrong, of which the first are listed."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return {"recall": round(float(hits[:listed].sum() / hits.sum()), 4), "listed": listed,
            "precision": round(float(hits[:listed].mean()), 4) if listed else 0.0,
            "average_precision": round(float(precision[hits].mean()), 4)}


def labels(data_dir: Path, only: str | None) -> None:
    results = kept("labels")
    for name, config in sources(data_dir).items():
        if only is not None and only != name:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder, began = Path(place), time.process_time()
            opened = open_all(config, 0, None)
            # all images of a folder without parts, else the training part
            opened = opened if opened.parts[0].name == "all" else opened.__class__(
                opened.name, opened.layout, opened.classes, opened.parts[:1], opened.notes)
            census = take(opened, folder, 2, silent)
            rows, classes = census.readable, len(opened.classes)
            truth = census.label[rows]
            fold = census.digest[rows].view(("u8", 2))[:, 0].astype(np.int64) % label_errors.FOLDS
            found = features.of_thumbnails(census, rows, folder, 2, 0, silent)
            print(f"{name}: {len(rows)} images, features in {time.process_time() - began:.0f} processor seconds")
            results[name] = judged(found, truth, fold, classes, folder)
            keep("labels", results)


# -- duplicates --------------------------------------------------------------------------------------------------------

def again(image: Image.Image) -> Image.Image:
    """Encoded as JPEG at quality 85."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return Image.open(file)


def cropped(image: Image.Image) -> Image.Image:
    """2 % of either side taken off, a pixel at least."""
    off = [max(1, round(0.02 * side)) for side in image.size]
    return image.crop((off[0] // 2, off[1] // 2, image.width - (off[0] - off[0] // 2),
                       image.height - (off[1] - off[1] // 2)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same pixels": lambda image: image,
    "JPEG, quality 85": again,
    "resized by 0.9": lambda image: image.resize((round(0.9 * image.width), round(0.9 * image.height)),
                                                 Image.Resampling.BICUBIC),
    "cropped by 2 %": cropped,
    "brighter by 5 %": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
}


def pictures(name: str, data_dir: Path, count: int) -> list[Image.Image]:
    """Some pictures, each with its pixels once."""
    if name == "generated, 96×96":
        return [scene(i) for i in range(count)]
    if name == "nuclei, 256×256":
        return [Image.open(path).convert("RGB") for path in sorted((data_dir / "nuclei" / "images").iterdir())[:count]]
    opened = open_all(sources(data_dir)[name], 0, None).parts[0].images
    return [Image.fromarray(opened.read(i * (len(opened) // count)).permute(1, 2, 0).squeeze(2).numpy())
            for i in range(count)]


@functools.cache
def layers(cells: int) -> np.ndarray:
    """Smooth noise of so many cells along a side, many times, float32 (LAYERS, SIDE, SIDE, 3)."""
    dice = np.random.default_rng(cells)
    return np.stack([np.asarray(Image.fromarray(dice.integers(0, 256, (cells, cells, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) - 128 for _ in range(LAYERS)])


def scene(seed: int) -> Image.Image:
    """Noise of several scales, mixed by a seed."""
    dice = np.random.default_rng(seed)
    mixed = sum(weight * layers(cells)[dice.integers(LAYERS)] for cells, weight in SCALES.items())
    return Image.fromarray(np.clip(mixed + 128, 0, 255).astype(np.uint8))


def copies(data_dir: Path) -> None:
    results = kept("duplicates")
    for name in ("generated, 96×96", "nuclei, 256×256", "CIFAR-10 (JPEG)", "Fashion-MNIST", "MNIST"):
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            for folder in ("a", "b"):
                (root / folder).mkdir()
            images = pictures(name, data_dir, 660 if name.startswith("nuclei") else 10_000)
            planted = {}
            for i, image in enumerate(images):
                image.save(root / "a" / f"{i:05}.png")
            share = max(len(images) // (PLANTED * len(CHANGES)), 1)
            chosen = range(0, len(images), share)
            for place_of, i in enumerate(chosen):
                change = list(CHANGES)[place_of % len(CHANGES)]
                CHANGES[change](images[i]).save(root / "b" / f"{i:05}.png")
                planted[i] = change
            found = check(Data(source=str(root)))
            hit, false = dict.fromkeys(CHANGES, 0), 0
            natural = []
            for twins in (*found.exact, *found.near):
                names = [(Path(found.name(i)).parent.name, int(Path(found.name(i)).stem)) for i in twins.members]
                for folder, i in names:
                    if folder == "b" and ("a", i) in names:
                        hit[planted[i]] += 1
                others = {i for _, i in names}
                false += len(others) - 1
                natural += [twins.distance] if len(others) > 1 else []
            count = {change: list(planted.values()).count(change) for change in CHANGES}
            results[name] = {"images": len(images), "limit": round(found.near_limit, 4),
                             "planted": count, "found": hit, "others_joined": false,
                             "of_them_same_pixels": sum(apart == 0 for apart in natural)}
            print(name, results[name], flush=True)
            keep("duplicates", results)


# -- scale -------------------------------------------------------------------------------------------------------------

CHILD = """
import json, sys, time, resource, threading
from pathlib import Path
from convatlas.inspect.check import check, write_page
from convatlas.run import Data
most = [0]
def watch():
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        most[0] = max(most[0], next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")))
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
found = check(Data(source=sys.argv[1]))
write_page(found, Path(sys.argv[1] + ".html"))
print(json.dumps({"seconds": round(time.perf_counter() - began, 1), "processor_seconds": round(time.process_time(), 1),
                  "memory_mib": round(most[0] / 1024), "label_errors": len(found.errors),
                  "exact": len(found.exact), "near": len(found.near)}))
"""


def scale() -> None:
    results = kept("scale")
    with tempfile.TemporaryDirectory() as place:
        for count in SIZES:
            root = Path(place) / str(count)
            for i in range(count):
                path = root / f"class-{i % 10}" / f"{i:06}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                scene(i).save(path, quality=90)
            done = subprocess.run([sys.executable, "-c", CHILD, str(root)], check=True, capture_output=True, text=True)
            results[str(count)] = json.loads(done.stdout)
            print(count, results[str(count)], flush=True)
            keep("scale", results)


def kept(section: str) -> dict[str, Any]:
    """What was measured of a section before."""
    path = RESULTS / "data_check.json"
    found = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else {}
    return dict(found.get(section, {}))


def keep(section: str, results: dict[str, Any]) -> None:
    """Put a section into the file of results."""
    path = RESULTS / "data_check.json"
    found = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else {}
    save("data_check", {**found, "threads": torch.get_num_threads(), section: results})


def page() -> None:
    """Write the tables in docs/data.md."""
    tree = json.loads((RESULTS / "data_check.json").read_text(encoding="utf-8"))
    found, box = tree["results"], tree["machine"]

    def with_half(figure: dict[str, float]) -> str:
        return f"{figure['mean']:.3f} ± {figure['half']:.3f}"

    def line(*cells: object) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    both, patches, run = found["run"]["both"], found["run"]["patches"], found["run"]
    kinds = list(next(iter(found["duplicates"].values()))["planted"])
    scale = found["scale"]["100000"]
    text = [
        f"Measured by `benchmarks/data_check.py` ({box['processor']}, {box['cores']} cores; `results/data_check.json`). "
        f"{100 * FLIPPED:.0f} % of the labels",
        "were planted, each another class at random, ± is the 95 % interval over five plantings, none of which the length "
        "of the list was chosen by",
        "(others of the same sets did); by chance the average precision is 0.03:", "",
        line("data", "recall", "precision of the list", "average precision"), line(*["---"] * 4),
        *(line(f"{name}, {each['images']:,} images", *(with_half(each[figure]) for figure in (
            "recall", "precision", "average_precision"))) for name, each in found["labels"].items()),
        *(line(name, *(f"{each[figure]:.3f}" for figure in ("recall", "precision", "average_precision"))) for name, each in (
            (f"CIFAR-10 (JPEG), {run['images']:,} images, one planting: patches", patches),
            (f"… with RUN, a {run['network']} trained on those labels for {run['epochs']} epochs", both))), "",
        "Planted copies that were found, and others that were taken for nearly the same (digits and clothes are alike by "
        "nature, and 2 % of",
        "a picture of 28 or 32 pixels is a whole pixel):", "",
        line("data", *kinds, "others"), line(*["---"] * (len(kinds) + 2)),
        *(line(f"{name}, {each['images']:,} images", *(f"{each['found'][kind]} of {each['planted'][kind]}" for kind in kinds),
               each["others_joined"]) for name, each in found["duplicates"].items()), "",
        f"100,000 generated JPEGs of {SIDE}×{SIDE}: {scale['seconds']:.0f} s ({scale['processor_seconds']:.0f} processor "
        f"seconds), {scale['memory_mib']:,} MiB of memory at most; 10,000 take",
        f"{found['scale']['10000']['memory_mib']:,} MiB. Thumbnails and features, some 8 kB per image, lie in a temporary "
        "folder."]
    where = Path(__file__).parents[1] / "docs" / "data.md"
    begin, end = "<!-- data check: measured -->\n", "\n<!-- end -->"
    before, _, rest = where.read_text(encoding="utf-8").partition(begin)
    where.write_text(before + begin + "\n".join(text) + "\n" + end + rest.partition(end)[2], encoding="utf-8")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("section", choices=("labels", "plant", "run", "duplicates", "scale", "page"))
    words.add_argument("--data-dir", type=Path)
    for name in ("--run", "--planted", "--out"):
        words.add_argument(name, type=Path)
    words.add_argument("--only")
    asked = words.parse_args()
    if asked.section == "scale":
        scale()
    elif asked.section == "page":
        page()
    elif asked.section == "run":
        by_run(asked.run, asked.planted)
    elif asked.data_dir is None:
        words.error("--data-dir is needed")
    elif asked.section == "labels":
        labels(asked.data_dir, asked.only)
    elif asked.section == "plant":
        plant(asked.data_dir, asked.out)
    else:
        copies(asked.data_dir)


if __name__ == "__main__":
    main()
