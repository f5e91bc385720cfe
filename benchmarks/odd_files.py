"""Picture files of every kind that Pillow and tifffile write, through every way in which convatlas reads pictures.

    uv run python benchmarks/odd_files.py [--work DIR] [--every N]

Every mode × bit depth × compression × byte order × orientation, and files that are damaged, have several pages,
transparency, other ranges, or are no pictures: made here, so that the right pixels are known. Each must give the same
pixels, or be refused for the same reason, read whole, from bytes, part by part (as large TIFFs are), from shards, from
the cache, by a deployed folder with torch and without; predict, train, eval and segment are run on all of them as
commands, and nothing may stand on stderr but convatlas's own sentences. Results: benchmarks/results/odd_files.json.
"""

import argparse
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from report import save

H, W = 19, 30
REFUSED = "refused"
PACKAGES = ("pillow", "tifffile", "imagecodecs", "zarr", "simplejpeg", "numpy")
RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (H, W)).astype(np.uint8)
RGB = RANDOM.randint(0, 256, (H, W, 3)).astype(np.uint8)
ALPHA = RANDOM.choice(np.array([0, 1, 77, 128, 254, 255], np.uint8), (H, W))
DEEP = RANDOM.randint(0, 65536, (H, W, 4)).astype(np.uint16)
CMYK = RANDOM.randint(0, 256, (H, W, 4)).astype(np.uint8)
PALETTE = RANDOM.randint(0, 256, (256, 3)).astype(np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(W)[None] * 8, np.arange(H)[:, None] * 13, 100), -1).astype(np.uint8)


class Case(NamedTuple):
    """One file: its name, its bytes, and the pixels it must give (within `near`), REFUSED, or None: not known."""

    kind: str
    name: str
    content: bytes
    truth: Any
    near: int = 0


def white(pixels: Any, alpha: Any) -> Any:
    share = alpha.astype(int).reshape(*alpha.shape, *(1,) * (pixels.ndim - 2))
    return ((pixels * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def bytes_of(deep: Any) -> Any:
    return np.rint(deep / 257).astype(np.uint8)


def shown(pixels: Any, orientation: int) -> Any:
    """By Pillow's transpositions, not by our own."""
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
             5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
             8: Image.Transpose.ROTATE_90}
    image = Image.fromarray(pixels)
    return np.array(image.transpose(turns[orientation]) if orientation in turns else image)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def paletted(pixels: Any) -> Image.Image:
    image = Image.fromarray(pixels, "L").copy()
    image = image.convert("P")
    image.putdata(pixels.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


def modes() -> dict[str, tuple[Image.Image, Any]]:
    """An image of each of Pillow's modes, and its right pixels."""
    one = GREY > 127
    lab = Image.frombytes("LAB", (W, H), RGB.tobytes())
    return {
        "1": (Image.fromarray(one), one.astype(np.uint8) * 255), "L": (Image.fromarray(GREY), GREY),
        "LA": (Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), white(GREY, ALPHA)),
        "P": (paletted(GREY), PALETTE[GREY]), "RGB": (Image.fromarray(RGB), RGB),
        "RGBA": (Image.fromarray(np.dstack([RGB, ALPHA]), "RGBA"), white(RGB, ALPHA)),
        "opaque RGBA": (Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)]), "RGBA"), RGB),
        "only alpha": (Image.fromarray(np.dstack([RGB * 0, ALPHA]), "RGBA"), white(RGB * 0, ALPHA)),
        "CMYK": (Image.fromarray(CMYK, "CMYK"), np.array(Image.fromarray(CMYK, "CMYK").convert("RGB"))),
        "YCbCr": (Image.fromarray(RGB, "YCbCr"), np.array(Image.fromarray(RGB, "YCbCr").convert("RGB"))),
        "LAB": (lab, np.array(lab.convert("RGB"))),
        "I;16": (Image.fromarray(DEEP[..., 0]), bytes_of(DEEP[..., 0])),
        "I;16B": (Image.frombytes("I;16B", (W, H), DEEP[..., 0].astype(">u2").tobytes()), bytes_of(DEEP[..., 0])),
        "I": (Image.fromarray(DEEP[..., 0].astype(np.int32)), bytes_of(DEEP[..., 0])),
        "I large": (Image.fromarray(DEEP[..., 0].astype(np.int32) * 40), REFUSED),
        "I below 0": (Image.fromarray(DEEP[..., 0].astype(np.int32) - 9999), REFUSED),
        "F": (Image.fromarray(GREY.astype(np.float32) / 255), GREY),
        "F to 255": (Image.fromarray(GREY.astype(np.float32)), REFUSED),
        "F with NaN": (Image.fromarray(np.where(GREY > 200, np.nan, 0.5).astype(np.float32)), REFUSED),
        "F with inf": (Image.fromarray(np.where(GREY > 200, np.inf, 0.5).astype(np.float32)), REFUSED),
    }


def by_pillow() -> Iterator[Case]:
    forms = {"PNG": ("png", {}), "BMP": ("bmp", {}), "PPM": ("ppm", {}), "GIF": ("gif", {}),
             "WEBP": ("webp", {"lossless": True, "exact": True}), "TIFF": ("tif", {}),
             **{f"TIFF {name}": ("tif", {"compression": name}) for name in (
                 "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma", "group3", "group4")}}
    for form, (suffix, options) in forms.items():
        for mode, (image, truth) in modes().items():
            for orientation in range(1, 9):
                if orientation > 1 and (form.split()[0] not in ("PNG", "WEBP", "TIFF") or mode not in (
                        "1", "L", "P", "RGB", "RGBA", "I;16")):
                    continue
                if "group" in form and mode != "1":
                    continue
                try:
                    said = {} if orientation == 1 else {"exif": exif(orientation)}
                    content = saved(image, form.split()[0], **options, **said)
                    with Image.open(io.BytesIO(content)) as again:
                        kept = again.mode
                except (OSError, ValueError, KeyError, SystemError):       # not a mode of this format
                    continue
                wanted = truth if isinstance(truth, str) else shown(truth, orientation)
                if form in ("GIF", "WEBP", "PPM", "BMP"):
                    wanted = converted(form, mode, kept, wanted, content)
                # libtiff turns YCbCr into RGB by another rounding than Pillow
                yield Case(form, f"{form}-{mode}-{orientation}.{suffix}".replace(" ", "_").replace(";", ""), content,
                           wanted, int(form.startswith("TIFF ") and mode == "YCbCr"))


def converted(form: str, mode: str, kept: str, truth: Any, content: bytes) -> Any:
    """What these formats cannot hold they convert when they are written."""
    if form == "GIF" and mode in ("1", "L", "P"):
        return truth if mode == "P" or kept in ("1", "L") else np.repeat(truth[..., None], 3, 2)
    if form in ("PPM", "BMP") and mode in ("1", "L", "RGB", "I;16", "I;16B", "I"):
        return truth
    if form == "BMP" and mode == "P":
        return truth
    if form == "WEBP" and mode in ("RGB", "RGBA", "opaque RGBA", "only alpha"):
        return truth
    return np.repeat(truth[..., None], 3, 2) if form == "WEBP" and mode == "L" else None


def jpegs() -> Iterator[Case]:
    grey = SMOOTH[..., 0].copy()
    for orientation in range(1, 9):
        for mode, image, truth in (("L", Image.fromarray(grey), grey), ("RGB", Image.fromarray(SMOOTH), SMOOTH)):
            for name, options in {"444": {"subsampling": 0}, "420": {"subsampling": 2}, "prog": {"progressive": True},
                                  "opt": {"optimize": True}, "q30": {"quality": 30}}.items():
                said = {} if orientation == 1 else {"exif": exif(orientation)}
                yield Case("JPEG", f"jpeg-{mode}-{name}-{orientation}.jpg",
                           saved(image, "JPEG", **{"quality": 95, **options}, **said), shown(truth, orientation),
                           {"q30": 60, "420": 40, "prog": 40, "opt": 40}.get(name, 12))
    inks = np.dstack([SMOOTH, SMOOTH[..., 0] // 4])
    yield Case("JPEG", "jpeg-CMYK.jpg", saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=95),
               np.array(Image.fromarray(inks, "CMYK").convert("RGB")), 30)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: Any, bits: int, color: int, extra: bytes = b"") -> bytes:
    """Samples (H, W, C) as a PNG of that bit depth and colour type."""
    rows = samples.reshape(H, -1)
    if bits == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    elif bits == 8:
        lines = [row.astype(np.uint8).tobytes() for row in rows]
    else:
        digits = ((rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(H, -1).astype(np.uint8)
        lines = [np.packbits(row).tobytes() for row in digits]
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, bits, color, 0, 0, 0)) + extra
            + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def pngs() -> Iterator[Case]:
    for bits in (1, 2, 4, 8, 16):
        grey = (DEEP[..., 0] >> (16 - bits)).astype(int)
        truth = bytes_of(grey) if bits == 16 else (grey * (255 // (2**bits - 1))).astype(np.uint8)
        clear = np.where(grey == grey[3, 4], 0, 255).astype(np.uint8)
        key = chunk(b"tRNS", struct.pack(">H", grey[3, 4]))
        yield Case("PNG", f"png-grey-{bits}.png", png(grey, bits, 0), truth)
        yield Case("PNG", f"png-grey-{bits}-clear.png", png(grey, bits, 0, key), white(truth, clear))
        if bits <= 8:
            table = PALETTE[: 2**bits]
            palette = chunk(b"PLTE", table.tobytes())
            yield Case("PNG", f"png-palette-{bits}.png", png(grey, bits, 3, palette), table[grey])
            clear = np.full(len(table), 255, np.uint8)
            clear[: len(table) // 2] = ALPHA.ravel()[: len(table) // 2]
            yield Case("PNG", f"png-palette-{bits}-clear.png", png(grey, bits, 3, palette + chunk(b"tRNS",
                       clear.tobytes())), white(table[grey], clear[grey]))
        if bits >= 8:
            deep = (DEEP >> (16 - bits)).astype(int)
            eight = bytes_of(deep) if bits == 16 else deep.astype(np.uint8)
            color, alpha = deep[..., :3], np.where((deep[..., :3] == deep[3, 4, :3]).all(2), 0, 255).astype(np.uint8)
            yield Case("PNG", f"png-rgb-{bits}.png", png(color, bits, 2), eight[..., :3])
            yield Case("PNG", f"png-rgb-{bits}-clear.png", png(color, bits, 2, chunk(b"tRNS", struct.pack(
                ">HHH", *deep[3, 4, :3]))), white(eight[..., :3], alpha))
            yield Case("PNG", f"png-rgba-{bits}.png", png(deep, bits, 6), white(eight[..., :3], eight[..., 3]))
            yield Case("PNG", f"png-la-{bits}.png", png(deep[..., [0, 3]], bits, 4), white(eight[..., 0],
                                                                                          eight[..., 3]))


def tiffs() -> Iterator[Case]:
    import tifffile

    def made(**options: Any) -> bytes | None:
        file = io.BytesIO()
        pixels = options.pop("pixels")
        order = options.pop("byteorder")
        try:
            with tifffile.TiffWriter(file, byteorder=order, bigtiff=options.pop("bigtiff", False)) as writer:
                for page in pixels if isinstance(pixels, list) else [pixels]:
                    writer.write(page, metadata=None, **options)
        except (ValueError, RuntimeError, KeyError, NotImplementedError, TypeError):
            return None
        return file.getvalue()

    half, few = (DEEP[..., 0] // 2).astype(np.int16), DEEP[..., 0] >> 4
    colormap = (PALETTE.T.astype(np.uint16) * 257)
    deep = DEEP[..., :3]
    thick = np.minimum(DEEP[..., :3], DEEP[..., 3:])        # multiplied by its opacity
    floats = GREY.astype(np.float32) / 255
    kinds: dict[str, tuple[Any, dict[str, Any], Any]] = {
        "bool": (GREY > 127, {"photometric": "minisblack"}, (GREY > 127) * np.uint8(255)),
        "bool-white": (GREY > 127, {"photometric": "miniswhite"}, (GREY <= 127) * np.uint8(255)),
        "u8": (GREY, {}, GREY), "u8-white": (GREY, {"photometric": "miniswhite"}, 255 - GREY),
        "u16": (DEEP[..., 0], {}, bytes_of(DEEP[..., 0])),
        "u16-white": (DEEP[..., 0], {"photometric": "miniswhite"}, 255 - bytes_of(DEEP[..., 0])),
        "u16-said-4095": (few, {"extratags": [(281, 3, 1, 4095, False)]}, np.rint(few / 4095 * 255).astype(np.uint8)),
        "i16": (half, {}, bytes_of(half)), "i16-below": (half - np.int16(20000), {}, REFUSED),
        "u32": (DEEP[..., 0].astype(np.uint32), {}, bytes_of(DEEP[..., 0])),
        "i32": (DEEP[..., 0].astype(np.int32), {}, bytes_of(DEEP[..., 0])),
        "f16": (floats.astype(np.float16), {}, None), "f32": (floats, {}, GREY), "f64": (floats.astype(float), {}, None),
        "f32-255": (GREY.astype(np.float32), {}, REFUSED),
        "f32-nan": (np.where(GREY > 200, np.nan, floats), {}, REFUSED),
        "rgb8": (RGB, {"photometric": "rgb"}, RGB), "rgb16": (deep, {"photometric": "rgb"}, bytes_of(deep)),
        "rgba8": (np.dstack([RGB, ALPHA]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, white(RGB, ALPHA)),
        "rgba16": (DEEP, {"photometric": "rgb", "extrasamples": ["unassalpha"]},
                   white(bytes_of(deep), bytes_of(DEEP[..., 3]))),
        "rgba8-associated": (np.dstack([np.minimum(RGB, ALPHA[..., None]), ALPHA]),
                             {"photometric": "rgb", "extrasamples": ["assocalpha"]}, None),
        "rgba16-associated": (np.dstack([thick, DEEP[..., 3]]), {"photometric": "rgb", "extrasamples": ["assocalpha"]},
                              None),
        "rgbx8": (np.dstack([RGB, ALPHA]), {"photometric": "rgb", "extrasamples": ["unspecified"]}, RGB),
        "rgbx16": (DEEP, {"photometric": "rgb", "extrasamples": ["unspecified"]}, bytes_of(deep)),
        "la8": (np.dstack([GREY, ALPHA]), {"photometric": "minisblack", "extrasamples": ["unassalpha"],
                                           "planarconfig": "contig"}, white(GREY, ALPHA)),
        "palette": (GREY, {"photometric": "palette", "colormap": colormap}, PALETTE[GREY]),
        "cmyk8": (CMYK, {"photometric": "separated"}, np.array(Image.fromarray(CMYK, "CMYK").convert("RGB"))),
        "cmyk16": (DEEP, {"photometric": "separated"},
                   np.array(Image.fromarray(bytes_of(DEEP), "CMYK").convert("RGB"))),
        "planes8": (np.moveaxis(RGB, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, RGB),
        "planes16": (np.moveaxis(deep, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, None),
        "pages": ([GREY, 255 - GREY, GREY], {}, GREY), "pages-rgb16": ([deep, deep[::-1]], {"photometric": "rgb"},
                                                                       bytes_of(deep)),
        "dim": (few >> 2, {}, bytes_of(few >> 2)),
        "five-channels": (np.dstack([RGB, RGB[..., :2]]), {"photometric": "minisblack", "planarconfig": "contig"},
                          None),
    }
    ways: dict[str, dict[str, Any]] = {
        "raw": {}, "strips": {"rowsperstrip": 4}, "tiles": {"tile": (16, 16)}, "big": {"bigtiff": True},
        "lzw": {"compression": "lzw"}, "lzw-predicted": {"compression": "lzw", "predictor": True},
        "deflate": {"compression": "zlib", "tile": (16, 16)}, "packbits": {"compression": "packbits"},
        "zstd": {"compression": "zstd"}, "lzma": {"compression": "lzma"},
    }
    for kind, (pixels, options, truth) in kinds.items():
        for order in "<>":
            for way, more in ways.items():
                if (content := made(pixels=pixels, byteorder=order, **options, **more)) is not None:
                    # Pillow knows no BigTIFF in this byte order, no inverted 16 and no unsigned 32 bits
                    unknown = order == ">" and (way == "big" or kind in ("u16-white", "u32"))
                    yield Case("TIFF", f"tiff-{kind}-{'le' if order == '<' else 'be'}-{way}.tif", content,
                               None if unknown else truth)
            for orientation in range(2, 9):
                for way in ("raw", "deflate"):
                    if kind in ("u8", "u8-white", "u16", "rgb16", "palette", "rgba8"):
                        content = made(pixels=pixels, byteorder=order, **options, **ways[way],
                                       extratags=[(274, 3, 1, orientation, True)])
                        if content is not None:
                            yield Case("TIFF", f"tiff-{kind}-{'le' if order == '<' else 'be'}-{way}-{orientation}.tif",
                                       content, shown(truth, orientation))
    for order in "<>":
        for kind, pixels in (("rgb", SMOOTH), ("grey", SMOOTH[..., 0].copy())):
            content = made(pixels=pixels, byteorder=order, compression="jpeg", compressionargs={"level": 95},
                           tile=(16, 16))
            if content is not None:
                yield Case("TIFF", f"tiff-jpeg-{kind}-{'le' if order == '<' else 'be'}.tif", content, pixels, 80)
    for quality in (75, 95):
        yield Case("TIFF", f"tiff-jpeg-pillow-{quality}.tif",
                   saved(Image.fromarray(SMOOTH), "TIFF", compression="jpeg", quality=quality), SMOOTH, 60)


def odd() -> Iterator[Case]:
    """Several frames, bombs, damage, and what is no picture."""
    frames = [Image.fromarray(each) for each in (RGB, RGB[::-1].copy(), RGB[:, ::-1].copy())]
    yield Case("frames", "frames.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), RGB)
    yield Case("frames", "frames.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:],
                                              lossless=True), RGB)
    yield Case("frames", "frames.tif", saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]), RGB)
    yield Case("frames", "frames.gif", saved(Image.fromarray(GREY), "GIF", save_all=True, append_images=[
        Image.fromarray(255 - GREY)]), np.repeat(GREY[..., None], 3, 2))
    whole = {"png": saved(Image.fromarray(RGB), "PNG"), "jpg": saved(Image.fromarray(SMOOTH), "JPEG"),
             "webp": saved(Image.fromarray(RGB), "WEBP"), "gif": saved(Image.fromarray(GREY), "GIF"),
             "bmp": saved(Image.fromarray(RGB), "BMP"), "ppm": saved(Image.fromarray(RGB), "PPM"),
             "tif": saved(Image.fromarray(RGB), "TIFF")}
    whole |= {f"{name}.tif": saved(Image.fromarray(RGB), "TIFF", compression=name)
              for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd")}
    for suffix, content in whole.items():
        for share in (2, 50, 80):
            yield Case("truncated", f"cut-{share}.{suffix}", content[: len(content) * share // 100], None)
        for seed in range(3):
            damaged, random = bytearray(content), np.random.RandomState(seed)
            for place in random.randint(len(content) // 3, len(content), 12):
                damaged[place] = random.randint(256)
            yield Case("damaged", f"damaged-{seed}.{suffix}", bytes(damaged), None)
    for name, content in {"text.png": b"no picture", "empty.jpg": b"", "zeros.png": bytes(999), "gif.png": whole["gif"],
                          "jpeg.png": whole["jpg"]}.items():
        known = {"gif.png": np.repeat(GREY[..., None], 3, 2)}.get(name, None if name == "jpeg.png" else REFUSED)
        yield Case("no picture", name, content, known)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    yield Case("bomb", "bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))
               + chunk(b"IEND", b""), REFUSED)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 10**6)))
    yield Case("bomb", "bomb-text.png", png(RGB, 8, 2, text), None)


def cases() -> list[Case]:
    """All of them; Pillow's warnings about its own modes are not what is tried here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for make in (by_pillow, jpegs, pngs, tiffs, odd) for case in make()]
    # of one name and two suffixes `segment` would make one file
    return [case._replace(name=f"{case.name.rpartition('.')[2]}-{case.name}") for case in found]


Outcome = Any       # pixels (H, W) or (H, W, 3), or the reason why there are none


def outcome(read: Callable[[], Any], path: Path) -> Outcome:
    """Pixels, or the reason without the names."""
    from convatlas.errors import ConvatlasError

    try:
        pixels = np.asarray(read())
    except ConvatlasError as error:
        return re.sub(r"^cannot read the image .*?: ", "", str(error).replace(str(path), "FILE"))
    return pixels


def plain(pixels: Any) -> Any:
    """(C, H, W) as (H, W) or (H, W, 3)."""
    return pixels[0] if len(pixels) == 1 else np.moveaxis(np.asarray(pixels), 0, 2)


def readers(work: Path, paths: list[Path]) -> dict[str, Callable[[int], Any]]:
    """The ways to the pixels of file number i, but for the first (`pixels.read`), which all are compared with."""
    import torch

    from convatlas import pixels
    from convatlas.data import Files, cache, read_image
    from convatlas.data.shards.local import decoded
    from convatlas.segment import picture as mapped

    kept = cache.in_memory(Files(paths, torch.zeros(len(paths), dtype=torch.int64)), lambda text: None)

    def in_parts(number: int) -> Any:
        limit, mapped.MAPPED = mapped.MAPPED, 0
        try:
            found = mapped.picture(paths[number])
            high, wide = found.size
            half = high // 2
            return plain(torch.cat([found.read(0, 0, half, wide), found.read(half, 0, high - half, wide)], 1))
        finally:
            mapped.MAPPED = limit

    return {
        "torch": lambda i: plain(read_image(paths[i])),
        "bytes": lambda i: pixels.decode(paths[i].read_bytes(), name=str(paths[i])).pixels,
        "shards": lambda i: plain(decoded(paths[i].read_bytes(), repr(str(paths[i])))),
        "cache": lambda i: plain(kept.read(i)),
        "whole, to segment": lambda i: plain(segmented(mapped, paths[i])),
        "in parts": in_parts,
    }


def segmented(mapped: Any, path: Path) -> Any:
    found = mapped.picture(path)
    return found.read(0, 0, *found.size)


def same(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    return one.shape == other.shape and bool((one == other).all())


def compare(work: Path, chosen: list[Case]) -> list[dict[str, Any]]:
    """Write the files, read each in every way, and say of each what it was and what is wrong."""
    from convatlas import pixels

    paths = [work / case.name for case in chosen]
    for path, case in zip(paths, chosen, strict=True):
        path.write_bytes(case.content)
    ways, rows = readers(work, paths), []
    for number, (path, case) in enumerate(zip(paths, chosen, strict=True)):
        first = outcome(lambda path=path: pixels.read(path), path)
        wrong = {}
        for name, read in ways.items():
            found = outcome(lambda read=read, number=number: read(number), path)
            allowed = name == "in parts" and isinstance(found, str)         # it may refuse what others read
            if not same(first, found) and not allowed:
                wrong[name] = described(found, first)
        if isinstance(case.truth, str):
            if not isinstance(first, str):
                wrong["truth"] = "was read, and should be refused"
        elif case.truth is not None and (isinstance(first, str) or not near(first, case.truth, case.near)):
            wrong["truth"] = described(first, case.truth)
        rows.append({"kind": case.kind, "name": case.name, "outcome": first if isinstance(first, str) else "read",
                     "in parts": ways_of(ways["in parts"], number, path), "wrong": wrong})
    return rows


def ways_of(read: Callable[[int], Any], number: int, path: Path) -> str:
    found = outcome(lambda: read(number), path)
    return found if isinstance(found, str) else "read"


def near(found: Any, truth: Any, within: int) -> bool:
    return bool(found.shape == truth.shape and (np.abs(found.astype(int) - truth).max() <= within))


def described(found: Outcome, other: Outcome) -> str:
    if isinstance(found, str):
        return found
    if isinstance(other, str):
        return f"was read, not refused: {other}"
    if found.shape != other.shape:
        return f"{found.shape}, not {other.shape}"
    away = np.abs(found.astype(int) - other)
    return f"differs by {away.max()} at most, {away.mean():.2f} in the mean"


# -- as commands -----------------------------------------------------------------------------------------------------

OURS = re.compile(r"(warning|error|note|skipped): |\d+ of \d+ images could not be read$|$")


def command(*words: str | Path) -> tuple[str, list[str]]:
    """Run convatlas; what it prints, and the lines on stderr that are not its own sentences."""
    done = subprocess.run([sys.executable, "-m", "convatlas", *map(str, words)], capture_output=True, text=True,
                          encoding="utf-8", errors="replace", env={**os.environ, "COLUMNS": "200"}, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"convatlas {' '.join(map(str, words))}\n{done.stderr[-3000:]}")
    return done.stdout, [line for line in done.stderr.splitlines() if not OURS.match(line)]


def networks(work: Path) -> tuple[Path, Path]:
    """A small network that segments and is not trained, as a file; and where the one that classifies will be."""
    import torch

    import convatlas
    from convatlas import weights

    torch.manual_seed(0)
    net = convatlas.create_model("unet", num_classes=2, in_chans=3, image_size=64, widths=(4, 8), padding="same")
    weights.save(work / "pixels.safetensors", net.state_dict(), net.card)
    return work / "run", work / "pixels.safetensors"


def as_commands(work: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Predict, train, eval, segment, shards and a deployed folder on the files that `compare` has written."""
    import torch

    import convatlas
    from convatlas.data import open_data
    from convatlas.deploy.bundle import deploy, deployed
    from convatlas.run import Data

    pictures, data = work / "pictures", work / "data"
    refused = {row["name"]: row["outcome"] for row in rows if row["outcome"] != "read"}
    for number, row in enumerate(rows):
        place = data / "ab"[number % 2] / row["name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(pictures / row["name"], place)
    run, pixels = networks(work)
    foreign: dict[str, list[str]] = {}
    small = ("--set", "augment.crop=centre", "--set", "preprocess.crop_pct=1", "--epochs", "1", "--lr", "0.001", "--image-size", "32",
             "--in-chans", "3", "--out", run)
    _, foreign["train"] = command("train", "lenet5_modern", data, *small)
    told, foreign["eval"] = command("eval", run, data, "--json", "--split", "train")
    text, foreign["predict"] = command("predict", run, pictures, "--json")
    by_api = {Path(each.image).name: each for each in convatlas.predict(run, sorted(pictures.iterdir()), top_k=1)}
    deploy(run, work / "deployed", backend="onnxruntime")
    free, foreign["deployed"] = command("predict", work / "deployed", pictures, "--json")
    with_torch = {Path(each.image).name: each for each in convatlas.predict(
        deployed(work / "deployed"), sorted(pictures.iterdir()), top_k=1)}
    labels, foreign["segment"] = command("segment", pixels, pictures, "--out", work / "out", "--json", "--tile", "64")
    _, foreign["shard"] = command("data", "shard", data, work / "shards", "--val", "0.2", "--shard-mb", "4")
    _, foreign["eval, shards"] = command("eval", run, work / "shards", "--json")

    def reasons(document: str) -> dict[str, str]:
        return {Path(each["image"]).name: reason_of(each["error"]) for each in json.loads(document)[
            "images"] if each["error"]}

    def of(found: dict[str, Any]) -> dict[str, str]:
        return {name: reason_of(each.error) for name, each in found.items() if each.error}

    ways = {"predict": reasons(text), "predict, API": of(by_api), "deployed, without torch": reasons(free),
            "deployed, with torch": of(with_torch), "segment": reasons(labels)}
    scores = {each["image"].rpartition("/")[2]: each["predictions"] for each in json.loads(free)["images"]}
    away = max(abs(scores[name][0]["probability"] - each.probabilities[0]) for name, each in with_torch.items()
               if not each.error)
    shards = open_data(Data(source=str(work / "shards")))
    read = sum(unread(images, number) for images in (shards.train, shards.val) for number in range(len(images)))
    return {"lines_not_ours": {name: sorted(set(lines))[:5] for name, lines in foreign.items()},
            "count_not_ours": sum(map(len, foreign.values())), "refused": len(refused),
            "refused_otherwise": {way: sorted(name for name in {*found, *refused}
                                              if found.get(name) != refused.get(name))
                                  for way, found in ways.items()},
            "skipped": {"eval, training part": json.loads(told)["skipped"], "shards": read},
            "largest_difference_of_a_probability": away, "torch": torch.__version__}


def unread(images: Any, number: int) -> bool:
    from convatlas.data import UnreadableImage

    try:
        images.read(number)
    except UnreadableImage:
        return True
    return False


def reason_of(text: str) -> str:
    return re.sub(r"^cannot read the image '.*?': ", "", text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every N-th file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = (asked.work or Path(folder)).resolve()
        (work / "pictures").mkdir(parents=True)
        chosen = cases()[:: asked.every]
        rows = compare(work / "pictures", chosen)
        found = as_commands(work, rows)
    kinds = {kind: {"files": sum(row["kind"] == kind for row in rows),
                    "read": sum(row["kind"] == kind and row["outcome"] == "read" for row in rows),
                    "read_in_parts": sum(row["kind"] == kind and row["in parts"] == "read" for row in rows),
                    "truth_known": sum(case.kind == kind and case.truth is not None for case in chosen)}
             for kind in dict.fromkeys(row["kind"] for row in rows)}
    wrong = {row["name"]: row["wrong"] for row in rows if row["wrong"]}
    results = {"versions": {name: version(name) for name in PACKAGES}, "files": len(rows), "kinds": kinds,
               "wrong": wrong, "reasons": dict(Counter(re.sub(r"-?\d[\d.e+]*", "N", row["outcome"]) for row in rows)
                                               .most_common()), "commands": found}
    print(json.dumps(results, indent=2, ensure_ascii=False))
    if asked.every == 1:
        save("odd_files", results)


if __name__ == "__main__":
    main()
