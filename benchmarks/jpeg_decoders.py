"""JPEG decoders one against another: what torchvision's deprecated decoder may be replaced by.

    uv run --with simplejpeg --with opencv-python-headless --with torchcodec python benchmarks/jpeg_decoders.py

Each turns the bytes of a file into uint8 (3, H, W) in one piece, on one thread. Pictures are smooth random textures
made from a seed: 500×375 (4:2:0, 4:4:4 and progressive), 224×224, and 2048×1536 at full size and scaled down while
decoding. Rounds take turns; a figure is that of the fastest, by processor time. Pixels are compared with Pillow's.
A decoder that is not installed is left out.
"""

import importlib
import io
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from input_pipeline import texture
from report import save

ROUNDS, FILES = 12, 12
Decode = Callable[[bytes], Any]
PACKAGES = ("pillow", "torchvision", "torchcodec", "simplejpeg", "opencv-python-headless")


def pillow(content: bytes, short: int | None = None) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        if short:
            image.draft(None, (short, short))
        return planes(np.array(image))


def planes(pixels: Any) -> Any:
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def torchvision() -> Decode:
    decode = importlib.import_module("torchvision.io").decode_jpeg
    return lambda content: decode(torch.frombuffer(bytearray(content), dtype=torch.uint8))


def torchcodec() -> Decode:
    decode = importlib.import_module("torchcodec.decoders").decode_jpeg
    return lambda content: decode(torch.frombuffer(bytearray(content), dtype=torch.uint8))


def simplejpeg() -> Decode:
    decode = importlib.import_module("simplejpeg").decode_jpeg
    return lambda content: planes(decode(content))


def opencv() -> Decode:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    return lambda content: planes(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))


def decoders() -> dict[str, Decode]:
    """Those that are installed, Pillow first."""
    found: dict[str, Decode] = {"Pillow": pillow}
    for name, make in {"torchvision": torchvision, "TorchCodec": torchcodec, "simplejpeg": simplejpeg,
                       "OpenCV": opencv}.items():
        try:
            found[name] = make()
        except (ImportError, AttributeError, RuntimeError, OSError) as error:
            print(f"{name}: {str(error).splitlines()[0]}")
    return found


def jpegs(size: tuple[int, int], **options: Any) -> list[bytes]:
    random, files = np.random.RandomState(0), []
    for _ in range(FILES):
        file = io.BytesIO()
        texture(random).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90, **options)
        files.append(file.getvalue())
    return files


def rates(files: list[bytes], known: dict[str, Decode]) -> dict[str, float]:
    """Images per second."""
    taken: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(ROUNDS):
        for name, decode in known.items():
            began = time.process_time()
            for content in files:
                decode(content)
            taken[name].append(time.process_time() - began)
    return {name: round(len(files) / min(times)) for name, times in taken.items()}


def row(case: str, files: list[bytes], known: dict[str, Decode]) -> dict[str, Any]:
    found = {name: [decode(content).int() for content in files] for name, decode in known.items()}
    away = {name: [(a - b).abs() for a, b in zip(pictures, found["Pillow"], strict=True)]
            for name, pictures in found.items()}
    return {"case": case, "images_per_s": rates(files, known),
            "largest_difference": {name: max(int(each.max()) for each in all_) for name, all_ in away.items()},
            "share_different": {name: round(float(np.mean([float((each > 0).float().mean()) for each in all_])), 6)
                                for name, all_ in away.items()}}


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    torch.set_num_threads(1)
    known, small, large = decoders(), (500, 375), (2048, 1536)
    rows = [row("500×375, 4:2:0", jpegs(small), known), row("500×375, 4:4:4", jpegs(small, subsampling=0), known),
            row("500×375, progressive", jpegs(small, progressive=True), known),
            row("224×224, 4:2:0", jpegs((224, 224)), known),
            row("2048×1536, 4:2:0", jpegs(large), known)]
    scaled: dict[str, Decode] = {"Pillow": lambda content: pillow(content, 512)}
    if "simplejpeg" in known:
        decode = importlib.import_module("simplejpeg").decode_jpeg
        scaled["simplejpeg"] = lambda content: planes(decode(content, min_height=768, min_width=1024, min_factor=1))
    rows.append(row("2048×1536 decoded at half its size", jpegs(large), scaled))
    for each in rows:
        print(each)
    save("jpeg_decoders", {"versions": {name: installed(name) for name in PACKAGES},
                           "libjpeg_turbo": features.version("libjpeg_turbo"), "rows": rows})


if __name__ == "__main__":
    main()
