"""Overlap-tile against MONAI's sliding-window inference on the same network, and an image larger than the memory it may
take.

    uv run --with monai --with tifffile python benchmarks/tiles.py           # ten minutes on two cores
    uv run --with monai --with tifffile python benchmarks/tiles.py 4000      # the comparison only, or 20000: the large image

Both read the image, uint8 on disk, and leave a file of labels. Each measurement is a process of its own; rounds are
interleaved, times are medians, of the clock and of the processor, all threads together (which other programs on the
machine disturb less). Peaks are of anonymous memory (RssAnon, every 20 ms); pages of mapped files are counted apart.
"""

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convatlas import create_model
from report import RESULTS, save

SIDE, TILE, OVERLAP, ROUNDS = 4000, 512, 128, 5
WIDTHS = (8, 16, 32, 64)
HUGE, HUGE_TILE, HUGE_WIDTHS = 20_000, 2048, (4, 8, 16)
KILLED_AFTER = 40       # seconds


def network(widths: tuple[int, ...]) -> torch.nn.Module:
    """The same for all: seeded, padded, on one grey channel."""
    torch.manual_seed(0)
    return create_model("unet_same", widths=widths, in_chans=1).eval()


class Peak(threading.Thread):
    """The most that /proc says of this process's memory, in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0.0, "RssFile": 0.0}
        self.before = self.now()["RssAnon"]

    def now(self) -> dict[str, float]:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return {words[0][:-1]: int(words[1]) / 1024 for words in lines if words and words[0][:-1] in self.most}

    def run(self) -> None:
        while True:
            for key, value in self.now().items():
                self.most[key] = max(self.most[key], value)
            time.sleep(0.02)


def with_convatlas(image: Path, out: Path, tile: int, overlap: int | None, widths: tuple[int, ...]) -> None:
    from convatlas.segment.run import segment

    segment(network(widths), [image], out, tile=tile, overlap=overlap, device="cpu")


def with_monai(image: Path, out: Path, mode: str) -> None:
    from monai.inferers import sliding_window_inference

    net = network(WIDTHS).to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(np.load(image)).to(torch.float32).div_(255).sub_(0.5).div_(0.5)
    with torch.inference_mode():
        scores = sliding_window_inference(pixels[None, None], TILE, 1, net, overlap=OVERLAP / TILE, mode=mode)
    np.save(out, scores[0].argmax(0).to(torch.uint8).numpy())


def child(what: str, image: Path, out: Path) -> None:
    """One measurement, printed as JSON. A small image goes first: what is imported and set up once is not measured."""
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.npy"
        np.save(small, texture(TILE + 100, TILE + 100))
        if what.startswith("monai"):
            with_monai(small, Path(place) / "labels", what.removeprefix("monai "))
        else:
            with_convatlas(small, Path(place) / "out", TILE, OVERLAP, WIDTHS)
    peak = Peak()
    peak.start()
    began, worked = time.perf_counter(), time.process_time()
    if what == "ours":
        with_convatlas(image, out, TILE, OVERLAP, WIDTHS)
    elif what == "huge":
        with_convatlas(image, out, HUGE_TILE, None, HUGE_WIDTHS)
    else:
        with_monai(image, out, what.removeprefix("monai "))
    spent = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    print(json.dumps({**spent, "before": peak.before, **peak.most}))


def command(what: str, image: Path, out: Path) -> list[str]:
    return [sys.executable, __file__, "child", what, str(image), str(out)]


def texture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Blobs and noise from a seed."""
    dice = np.random.default_rng(height)
    coarse = torch.from_numpy(dice.random((1, 1, height // 50, width // 50), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0, 0].numpy()
    return (230 * smooth + 25 * dice.random((height, width), dtype=np.float32)).astype(np.uint8)


def compare(folder: Path) -> dict[str, Any]:
    """Ours and MONAI's, in turn."""
    image = folder / "image.npy"
    np.save(image, texture(SIDE, SIDE))
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "monai constant": [], "monai gaussian": []}
    for number in range(ROUNDS):
        for what, found in rows.items():
            done = subprocess.run(command(what, image, folder / f"{what}{number}"), check=True,
                                  capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {what}: {found[-1]}", flush=True)
    return {"image": [SIDE, SIDE], "tile": TILE, "overlap": OVERLAP, "widths": WIDTHS,
            "threads": torch.get_num_threads(), **{
                what: {"seconds": round(statistics.median(each["seconds"] for each in found), 1),
                       "all_seconds": [round(each["seconds"], 1) for each in found],
                       "processor_seconds": round(statistics.median(each["processor_seconds"] for each in found), 1),
                       "peak_anonymous_mib": round(max(each["RssAnon"] for each in found)),
                       "above_the_start_mib": round(max(each["RssAnon"] - each["before"] for each in found))}
                for what, found in rows.items()}}


def huge(folder: Path) -> dict[str, Any]:
    """Killed once, started again."""
    import tifffile

    image, out = folder / "huge.tif", folder / "huge"
    pixels = tifffile.memmap(image, shape=(HUGE, HUGE), dtype=np.uint8)
    for top in range(0, HUGE, 1000):
        pixels[top : top + 1000] = texture(1000, HUGE)
    pixels.flush()
    first = subprocess.Popen(command("huge", image, out))
    time.sleep(KILLED_AFTER)
    first.send_signal(signal.SIGKILL)
    first.wait()
    bands = len((out / "journal.jsonl").read_text().splitlines()) - 1
    done = subprocess.run(command("huge", image, out), check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"image": [HUGE, HUGE], "tile": HUGE_TILE, "widths": HUGE_WIDTHS, "killed_after_seconds": KILLED_AFTER,
            "bands_done_when_killed": bands, "bands": -(-HUGE // (HUGE_TILE - 48)),
            "seconds_of_the_rest": round(found["seconds"]), "peak_anonymous_mib": round(found["RssAnon"]),
            "peak_mapped_files_mib": round(found["RssFile"])}


def main(words: list[str]) -> None:
    """Measure, print, keep."""
    kept = RESULTS / "tiles.json"
    results: dict[str, Any] = json.loads(kept.read_text())["results"] if kept.is_file() else {}
    with tempfile.TemporaryDirectory() as place:
        if "20000" not in words:
            results["against MONAI"] = compare(Path(place))
        if "4000" not in words:
            results["20 000 × 20 000"] = huge(Path(place))
    print(json.dumps(results, indent=2))
    save("tiles", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
