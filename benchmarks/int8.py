"""int8 in figures: images per second against our fp32 and OpenVINO's own quantised model, and how often the best class
stays.

    CONVATLAS_DATA=DATA uv run python benchmarks/int8.py [resnet50 …] [--seconds 4] [--images 64]         # results/int8.json
    CONVATLAS_DATA=DATA uv run python benchmarks/int8.py --agreement [lenet5.digits resnet20_cifar …]     # results/int8_agreement.json

Speed: 224 pixels, batch 1 and 16, one process per network, in which the sides take turns; the first call of a turn is
not counted, and medians are kept, of the time that passed and beside it of the processor's, which other work on the
machine does not add to. With `--threads 1` each side has one thread. The weights are random, timm's own initialisation, with BatchNorm's statistics
measured on the images, and the same in all sides. `theirs` is what a user of OpenVINO does: timm's model converted as
it is, `nncf.quantize` with its defaults, the same images. All OpenVINO sides: as many threads as torch has, latency,
and fp32 where they are not int8. `noise` is the squared difference of the scores from fp32's over their squared spread,
on the images.

Agreement: the small networks whose weights come with the package, on the data that comes with it, and two trained for
some minutes on 10 000 images of CIFAR-10 (JPEG), a lossy copy of CIFAR-10 whose figures cannot be compared with others',
and judged on 2 000. Random weights have no accuracy to lose.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from report import RESULTS, earlier, put, save

ROOT = Path(__file__).parents[1]
TIMM = {"norm_eps": 1e-5, "norm_momentum": 0.1, "drop_rate": 0.0}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {         # ours: timm's name, and our fields that make it timm's
    "resnet50": ("resnet50", {}),
    "mobilenet_v2": ("mobilenetv2_100", TIMM),
    "efficientnet_b0": ("efficientnet_b0", {**TIMM, "drop_path_rate": 0.0}),
}
BATCHES = (1, 16)
SHIPPED = ("lenet5.digits", "lenet5_modern.fashion-small", "plain20_cifar.digits", "resnet20_cifar.digits",
           "resnet20_cifar.digits-se", "mobilenet_v2_035.digits", "all_cnn_c.fashion-small", "repvgg_a0.fashion-small",
           "convnext_tiny.fashion-small")
#                              pixels, epochs, further settings
# its paper's would take longer than the run
TRAINED = {"resnet20_cifar":   (32, 6, ()),
           "mobilenet_v2":     (64, 4, ("--set", "model.fields.norm_momentum=0.1"))}
ENGINES = ("native", "openvino", "onnxruntime")
PER_CLASS = {"train": 1000, "test": 200}


# -- the images --------------------------------------------------------------------------------------------------------


def cifar(folder: Path, per_class: dict[str, int]) -> Path:
    """The first images of each class of CIFAR-10 (JPEG), unpacked below `folder` as train/ and test/."""
    data = os.environ.get("CONVATLAS_DATA")
    archive = Path(data or "") / "cifar10-jpeg.tar.gz"
    if data is None or not archive.is_file():
        sys.exit("set CONVATLAS_DATA to the folder that has cifar10-jpeg.tar.gz")
    counts: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            part, _, label = str(Path(member.name).parent).removeprefix("cifar10-jpeg/").partition("/")
            if member.isfile() and counts.get(f"{part}/{label}", 0) < per_class.get(part, 0):
                counts[f"{part}/{label}"] = counts.get(f"{part}/{label}", 0) + 1
                tar.extract(member, folder, filter="data")
    return folder / "cifar10-jpeg"


# -- speed: one network, in a process of its own -----------------------------------------------------------------------


def measure(name: str, images: Path, seconds: float, count: int, threads: int) -> dict[str, Any]:
    """Set up all sides, compare their scores with fp32's, and time them in turns."""
    sys.path.insert(0, str(ROOT / "tests"))
    import timm
    import torch

    import convatlas
    from convatlas.deploy.backends import BACKENDS
    from convatlas.deploy.int8.pictures import calibration
    from convatlas.deploy.int8.quantization import quantize
    from convatlas.engine.allocator import use
    from convatlas.net.layers import macs
    from parity import transplant

    theirs_name, fields = NETWORKS[name]
    torch.manual_seed(0)
    if threads:
        torch.set_num_threads(threads)
    model = convatlas.create_model(name, **fields).eval()
    use("auto", macs(model) * max(BATCHES), torch.device("cpu"))
    pictures = calibration(model, images, count)
    theirs = settled(timm.create_model(theirs_name), pictures)
    transplant(theirs, model, pictures[:2])
    with torch.inference_mode():
        expected = theirs(pictures[:32])
        assert (model(pictures[:32]) - expected).abs().max() < 1e-3 * expected.abs().max()
    sides: dict[str, Any] = {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sides["openvino, fp32"], _ = BACKENDS["openvino"].build(model, pictures[:1], "fp32", Path(folder))
    # random weights have no right answer: without one, int8 far from fp32 would be refused
    judged = pictures[:32], expected.argmax(1)
    sides["openvino, int8"] = (ours := quantize(model, pictures, "openvino", evaluate=judged, seconds=0)).predictor
    sides["native, int8"] = (house := quantize(model, pictures, "native", evaluate=judged, seconds=0)).predictor
    sides["onnxruntime, int8"] = (other := quantize(model, pictures, "onnxruntime", evaluate=judged,
                                                    seconds=0)).predictor
    sides["theirs, int8"] = quantized_by_them(theirs, pictures)
    setup = time.perf_counter() - began
    rows: dict[str, Any] = {"macs": macs(model), "images": len(pictures), "seconds_of_setting_up": setup, "bytes": {
        "openvino, fp32": ours.report.int8.fp32_size, "openvino, int8": ours.report.int8.size,
        "onnxruntime, int8": other.report.int8.size, "native, int8": house.report.int8.size,
        "native, fp32": house.report.int8.fp32_size}, "threads": torch.get_num_threads()}
    spread = (expected - expected.mean(1, keepdim=True)).double().square().sum()
    rows["noise"] = {side: ((scores(pictures[:32]) - expected).double().square().sum() / spread).item()
                     for side, scores in sides.items()}
    for batch in BATCHES:
        x = pictures[torch.arange(batch) % len(pictures)].contiguous()
        rows[f"batch {batch}"] = timed(sides, x, seconds)
    return rows


def settled(model: Any, pictures: Any) -> Any:
    """The model in eval mode, BatchNorm's statistics being those of the pictures."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None          # a plain average of all batches
    model.train()
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            model(pictures[start : start + 16])
    return model.eval()


def quantized_by_them(model: Any, pictures: Any) -> Any:
    """OpenVINO's way from a torch model to int8, by its documentation, and the callable."""
    import contextlib
    import io

    import torch

    from convatlas.deploy.reader import silent

    openvino = silent()
    import nncf

    network = openvino.convert_model(model, example_input=pictures[:1])
    with contextlib.redirect_stdout(io.StringIO()):
        network = nncf.quantize(network, nncf.Dataset([image[None].numpy() for image in pictures]),
                                subset_size=len(pictures))
    core, made = openvino.Core(), {}
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
                              "INFERENCE_NUM_THREADS": torch.get_num_threads()})

    def scores(x: Any) -> Any:
        if x.shape not in made:
            shaped = network.clone()
            shaped.reshape(list(x.shape))
            made[x.shape] = core.compile_model(shaped, "CPU")
        return torch.from_numpy(made[x.shape](x.numpy())[0].copy())

    return scores


def timed(sides: dict[str, Any], x: Any, seconds: float) -> dict[str, Any]:
    """Images per second of each side, how much they vary, and ratios: medians of at least five turns."""
    for scores in sides.values():
        scores(x)
    spent: dict[str, list[float]] = {side: [] for side in sides}
    worked: dict[str, list[float]] = {side: [] for side in sides}
    began = time.perf_counter()
    while len(next(iter(spent.values()))) < 5 or time.perf_counter() - began < seconds * len(sides):
        for side, scores in sides.items():
            scores(x)
            start, cpu = time.perf_counter(), time.process_time()
            scores(x)
            scores(x)
            spent[side].append((time.perf_counter() - start) / 2)
            worked[side].append((time.process_time() - cpu) / 2)
    middle = {side: statistics.median(times) for side, times in spent.items()}
    quarter = {side: statistics.quantiles(times, n=4) for side, times in spent.items()}
    ours, cpu = middle["openvino, int8"], {side: statistics.median(times) for side, times in worked.items()}
    return {
        "images_per_second": {side: len(x) / value for side, value in middle.items()},
        "spread": {side: (high - low) / middle[side] for side, (low, _, high) in quarter.items()},
        "turns": len(next(iter(spent.values()))), "cpu_ms": {side: 1e3 * value for side, value in cpu.items()},
        "native_over": {side: value / cpu["native, int8"] for side, value in cpu.items() if side != "native, int8"},
        "ours_over": {side: value / ours for side, value in middle.items() if side != "openvino, int8"},
    }


# -- agreement ---------------------------------------------------------------------------------------------------------


def agreement(names: list[str], runs: Path | None) -> None:
    """Quantise by each engine with images of the training part, and judge on the part that is held out."""
    from convatlas.deploy.int8.quantization import quantize

    results: dict[str, Any] = earlier("int8_agreement")
    with tempfile.TemporaryDirectory() as temporary:
        for name in names or [*SHIPPED, *TRAINED]:
            model, images, rows = learned(name, runs or Path(temporary))
            for engine in ENGINES:
                found = quantize(model, images, engine, evaluate=images, sensitivity=engine == "openvino",
                                 seconds=0).report.int8
                rows["fp32"] = {"top1": found.before.top1, "loss": found.before.loss}
                rows["images"] = found.before.images
                rows[engine] = {"top1": found.after.top1, "loss": found.after.loss, "agreement": found.after.agreement,
                                "calibrated_on": found.calibrated_on, "bytes": found.size,
                                "fp32_bytes": found.fp32_size}
                if found.sensitivity:
                    rows["most_sensitive"] = [[row.layer, row.change, row.agreement] for row in found.sensitivity[:5]]
            results[name] = rows
            print(name, json.dumps(rows, indent=1), flush=True)
            save("int8_agreement", results)


def learned(name: str, kept: Path) -> tuple[Any, Any, dict[str, Any]]:
    """A network that has learned something, the images that calibrate and judge it, and what is told of both: one whose
    weights come along, by its name and its data's, or one that is trained here, below `kept`.
    """
    import convatlas
    from convatlas.deploy.int8.pictures import of_run
    from convatlas.zoo import recipe_for

    if name not in TRAINED:
        network, weights = name.split(".")
        data = weights.removesuffix("-se")
        model = convatlas.create_model(network, weights=weights).eval()
        return model, data, {"data": data, "pixels": model.image_size}
    size, epochs, further = TRAINED[name]
    data, run = kept / "cifar10-jpeg", kept / name
    if not data.is_dir():
        cifar(kept, PER_CLASS)
    if not (run / "report.html").is_file():
        words = ["train", name, data, "--recipe", recipe_for(name).recipe, "--out", run, "--force",
                 "--epochs", epochs, "--image-size", size, "--batch-size", 64, "--optimizer", "sgd", "--lr", 0.05,
                 "--schedule", "cosine", "--weight-decay", 1e-4, "--set", "augment.flip=0.5", *further]
        subprocess.run([sys.executable, "-m", "convatlas", *map(str, words)], check=True)
    source, _ = of_run(run, None, None)
    return convatlas.load(run).eval(), source, {"data": "CIFAR-10 (JPEG)", "pixels": size, "epochs": epochs,
                                                "training_images": len(source.train)}


# -- the page ----------------------------------------------------------------------------------------------------------


def speed_table(tree: dict[str, Any]) -> str:
    """Networks and batches by rows."""
    threads = next(iter(tree["results"].values()))["threads"]
    lines = [f"Measured on: {place(tree['machine'])}, {threads} thread{'s' if threads > 1 else ''}. Images at 224 pixels; "
             "processor time of a batch by native int8, and how many times as long others take, medians of turns.", "",
             "| network | batch | CPU ms, native int8 | OpenVINO int8 | ONNX Runtime int8 | OpenVINO's own of timm's | "
             "OpenVINO fp32 | noise, native / OpenVINO | MB int8 / fp32 |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for name, rows in tree["results"].items():
        for batch in BATCHES:
            found, size, noise = rows[f"batch {batch}"], rows["bytes"], rows["noise"]
            over = [f"{found['native_over'][side]:.2f}"
                    for side in ("openvino, int8", "onnxruntime, int8", "theirs, int8", "openvino, fp32")]
            lines.append(f"| {name} | {batch} | {found['cpu_ms']['native, int8']:.1f} | {' | '.join(over)} | "
                         f"{noise['native, int8']:.3f} / {noise['openvino, int8']:.3f} | "
                         f"{size['native, int8'] / 1e6:.1f} / {size['native, fp32'] / 1e6:.1f} |")
    return "\n".join(lines)


def agreement_table(tree: dict[str, Any]) -> str:
    """Networks and engines by rows."""
    lines = [f"Measured on: {place(tree['machine'])}.", "",
             "| network | data | judged by | top-1, fp32 | engine | top-1, int8 | best class is fp32's | MB int8 / fp32 "
             "|", "|---|---|--:|--:|---|--:|--:|--:|"]
    for name, rows in tree["results"].items():
        for engine in ENGINES:
            found = rows[engine]
            lines.append(f"| {name.split('.')[0]} | {rows['data']} | {rows['images']:,} | {rows['fp32']['top1']:.1%} | "
                         f"{engine} | {found['top1']:.1%} | {found['agreement']:.1%} | {found['bytes'] / 1e6:.2f} / "
                         f"{found['fp32_bytes'] / 1e6:.2f} |")
    return "\n".join(lines)


def place(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}"


def page() -> None:
    """Put both tables into docs/int8.md."""
    tables = {"int8": speed_table, "int8_agreement": agreement_table}
    put(ROOT / "docs" / "int8.md", {name: make(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
                                    for name, make in tables.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, per side and batch")
    parser.add_argument("--threads", type=int, default=0, help="of each side; as many as torch takes")
    parser.add_argument("--images", type=int, default=64, help="that calibrate")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--page", action="store_true", help="write the tables in docs/int8.md from the "
                        "files of results")
    parser.add_argument("--runs", type=Path, help="where trained networks are kept, and found again")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.page:
        page()
    elif given.agreement:
        agreement(given.names, given.runs)
    elif given.measure:
        rows = measure(given.measure[0], Path(given.measure[1]), given.seconds, given.images, given.threads)
        print(json.dumps(rows))
    else:
        results: dict[str, Any] = earlier("int8")
        with tempfile.TemporaryDirectory() as folder:
            images = cifar(Path(folder), {"train": 100})
            for name in given.names or NETWORKS:
                words = [sys.executable, __file__, "--measure", name, images, "--seconds", given.seconds,
                         "--images", given.images, "--threads", given.threads]
                done = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True)
                results[name] = json.loads(done.stdout.splitlines()[-1])
                print(name, json.dumps(results[name], indent=1), flush=True)
                save("int8", results)
        print(RESULTS / "int8.json")


if __name__ == "__main__":
    main()
