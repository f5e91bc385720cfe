"""Images of any size, read part by part: arrays in memory, files mapped into memory, Zarr arrays."""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .. import bounded
from ..errors import ConvatlasError, installing
from ..files import regular
from ..pixels import (
    AS_IT_IS,
    DIM,
    Decoding,
    Layout,
    Range,
    UnreadableImage,
    colors,
    decode,
    eight_bits,
    tiff_layout,
    tiff_pixels,
    to_array,
    turned,
    unreadable,
)

MAPPED = 2**26              # pixels, from which on a TIFF is not read whole
TIFF = (".tif", ".tiff")
ACROSS, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 6, 7), (2, 3, 7, 8)      # EXIF's orientations
PLAIN = (1, 8, 32773, 32946)        # compressions of TIFF that tifffile undoes by itself: none, deflate, PackBits
NEEDS = {"tifffile": f"reading large TIFFs needs tifffile: {installing('tiff')}",
         "imagecodecs": f"reading large TIFFs of this compression needs imagecodecs: {installing('tiff')}",
         "zarr": f"reading Zarr arrays and large compressed TIFFs needs zarr: {installing('zarr')}"}


@dataclass(frozen=True)
class Picture:
    """An image (C, H, W), (H, W, C) or (H, W): anything with shape and dtype whose parts are taken by slices."""

    array: Any
    axis: int | None        # of the channels; None: there is one, and no axis for it
    name: str = "image"
    range: Range | None = None                  # of values with more than 8 bits
    notes: frozenset[str] = frozenset()         # keys of pixels.NOTES

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = (side for i, side in enumerate(self.array.shape) if i != self.axis)
        return height, width

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.axis is None else int(self.array.shape[self.axis])

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """(C, height, width) from pixel (top, left); what lies beyond the edges is mirrored, as often as needed.

        uint8 by the rules of `pixels`; tensors stay as they are.
        """
        rows, columns = (reflected(*part) for part in zip((top, left), (height, width), self.size, strict=True))
        slices: list[slice | int] = [slice(int(axis.min()), int(axis.max()) + 1) for axis in (rows, columns)]
        if self.axis is not None:
            slices.insert(self.axis, slice(None))
        part = self._slice(tuple(slices))
        part = part[None] if self.axis is None else part.movedim(self.axis, 0)
        return part[:, rows - rows.min()][:, :, columns - columns.min()]

    def _slice(self, slices: tuple[slice | int, ...]) -> Tensor:
        try:
            found = self.array[slices]
            return found if isinstance(found, Tensor) else torch.from_numpy(np.array(eight_bits(np.asarray(found),
                                                                                                self.range)))
        except UnreadableImage as error:
            raise UnreadableImage(f"cannot read the image {self.name!r}: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:       # a chunk of a damaged file
            raise UnreadableImage(f"cannot read {self.name!r} at {slices}: {' '.join(str(error).split())}") from error


class Stored:
    """A large TIFF's pixels as they are shown: (H, W) or (H, W, 3), decoded part by part when they are sliced."""

    dtype = np.dtype(np.uint8)

    def __init__(self, array: Any, axis: int | None, layout: Layout, orientation: int) -> None:
        self.array, self.axis, self.layout, self.orientation = array, axis, layout, orientation
        self.stored = tuple(side for i, side in enumerate(array.shape) if i != axis)
        size = self.stored[::-1] if orientation in ACROSS else self.stored
        gray = layout.palette is None and (axis is None or array.shape[axis] == 1 + bool(layout.alpha))
        self.shape = size if gray else (*size, 3)

    def __getitem__(self, slices: tuple[slice, ...]) -> NDArray[np.uint8]:
        rows, columns = (slices[1], slices[0]) if self.orientation in ACROSS else slices[:2]
        high, wide = self.stored
        if self.orientation in UPSIDE_DOWN:
            rows = slice(high - rows.stop, high - rows.start)
        if self.orientation in MIRRORED:
            columns = slice(wide - columns.stop, wide - columns.start)
        parts: list[slice] = [rows, columns]
        if self.axis is not None:
            parts.insert(self.axis, slice(None))
        samples = np.asarray(self.array[tuple(parts)])
        if self.axis is not None:
            samples = np.moveaxis(samples, self.axis, 2)
        return turned(colors(samples, self.layout), self.orientation)


def picture(image: Any, name: str = "image", how: Decoding = AS_IT_IS) -> Picture:
    """A tensor (C, H, W), an array (C, H, W), (H, W, C) or (H, W), a Pillow image, or the path of a file, as a Picture.

    Of an array's three axes the last is the channels' if it is no longer than 4, else the first. TIFFs of more than 67
    million pixels and .npy files are mapped into memory, Zarr arrays (folders) read chunk by chunk, other files whole,
    all by the rules of `pixels`. Raises UnreadableImage.
    """
    if isinstance(image, str | Path):
        array, notes = _opened(Path(image), how)
        return replace(picture(array, str(image), how), notes=notes)
    if isinstance(image, Image.Image):
        image = to_array(image, how.range)
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise UnreadableImage(f"{name!r} has the shape {shape}: an image is (H, W), (H, W, C) or (C, H, W)")
    dtype = None if isinstance(image, Tensor) else np.dtype(image.dtype)
    if dtype is not None and dtype.kind not in "bf" and not (dtype.kind == "u" and dtype.itemsize <= 2) and (
            how.range is None or dtype.kind not in "iu"):
        raise UnreadableImage(f"{name!r} holds {dtype}, whose scale is not known: save it as uint8, uint16, or floats "
                              "from 0 to 1, or train with data.range")
    last = len(shape) == 3 and not isinstance(image, Tensor) and shape[2] <= 4
    return Picture(image, None if len(shape) == 2 else 2 if last else 0, name, how.range)


def kind(path: Path) -> str:
    """The family of files that an image belongs to: npy, zarr, tiff (one too large to be read whole) or picture."""
    if path.suffix == ".npy":
        return "npy"
    if is_zarr(path):
        return "zarr"
    return "tiff" if path.suffix.lower() in TIFF and path.is_file() and _pixels(path) > MAPPED else "picture"


def is_zarr(path: Path) -> bool:
    """True for the folder of a Zarr array or group."""
    return path.suffix == ".zarr" or any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup"))


def _opened(path: Path, how: Decoding) -> tuple[Any, frozenset[str]]:
    """An array of pixels, and keys of pixels.NOTES."""
    if not path.exists():
        raise UnreadableImage(f"there is no image {str(path)!r}")
    family = kind(path)
    if family == "npy" and not regular(path):
        raise UnreadableImage(f"cannot read the image {str(path)!r}: it is no regular file")
    if family == "picture":
        found = decode(path, how)
        return found.pixels, found.notes
    try:
        return _OPEN[family](path, how)
    except ImportError as error:
        raise ConvatlasError(NEEDS[(error.name or "").partition(".")[0]]) from error
    except UnreadableImage as error:
        raise UnreadableImage(f"cannot read the image {str(path)!r}: {error}") from error
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes the libraries raise nearly anything
        raise unreadable(path, error) from error


def _npy(path: Path, how: Decoding) -> tuple[Any, frozenset[str]]:
    array = bounded.array(path)
    some = array[tuple(slice(None, None, max(1, side // 512)) for side in array.shape)]
    dim = how.range is None and array.dtype.kind == "u" and array.dtype.itemsize == 2 and 0 < some.max() <= DIM
    return array, frozenset({"dim"} if dim else ())


def _zarr(path: Path, how: Decoding) -> tuple[Any, frozenset[str]]:
    import zarr

    found = zarr.open(str(path), mode="r")
    if isinstance(found, zarr.Array):
        return found, frozenset()
    inside = ", ".join(repr(f"{path}/{name}") for name, _ in found.arrays()) or "none"
    raise UnreadableImage(f"it is a group of Zarr arrays: name one of them ({inside})")


def _tiff(path: Path, how: Decoding) -> tuple[Any, frozenset[str]]:
    """The first page: mapped where its pixels lie uncompressed in one piece, else through Zarr, strip by strip or tile
    by tile.
    """
    layout, orientation, pages = tiff_layout(path, how.range)
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > path.stat().st_size:
            raise UnreadableImage(f"it is truncated: its pixels end at byte {max(ends)}, the file at "
                                  f"{path.stat().st_size}")
        axis = page.axes.find("S") if "S" in page.axes else None
        mapped, codec = page.is_memmappable, page.compression not in PLAIN
    if mapped:
        return Stored(tifffile.memmap(path, page=0, mode="r"), axis, layout, orientation), pages
    if codec:
        import_module("imagecodecs")
    import zarr

    array = zarr.open(tifffile.imread(path, key=0, aszarr=True), mode="r")
    return Stored(array, axis, layout, orientation), pages


def _pixels(path: Path) -> int:
    """As the header says; 0 where Pillow cannot read it, and says why when it is asked to decode it."""
    try:
        return tiff_pixels(path)
    except Exception:
        return 0


def reflected(start: int, count: int, length: int) -> Tensor:
    """Indices of start, start + 1, … among `length` pixels if the image goes on mirrored beyond its ends: int64
    (count,).
    """
    period = max(2 * (length - 1), 1)
    place = torch.arange(start, start + count) % period
    return torch.minimum(place, period - place) if length > 1 else torch.zeros_like(place)


_OPEN = {"npy": _npy, "zarr": _zarr, "tiff": _tiff}
