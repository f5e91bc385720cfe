"""Images of any size, read part by part: arrays in memory, files mapped into memory, Zarr arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.images import UnreadableImage, read_image, to_tensor
from ..errors import ConvatlasError

MAPPED = 2**26              # pixels, from which on a TIFF is not read whole
TIFF = (".tif", ".tiff")
NEEDS = {"tifffile": "reading large TIFFs needs tifffile: pip install 'convatlas[tiff]'",
         "zarr": "reading Zarr arrays and large compressed TIFFs needs zarr: pip install 'convatlas[zarr]'"}


@dataclass(frozen=True)
class Picture:
    """An image (C, H, W), (H, W, C) or (H, W): anything with shape and dtype whose parts are taken by slices."""

    array: Any
    axis: int | None        # of the channels; None: there is one, and no axis for it
    name: str = "image"

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

        16 bits become 8 as in training (65535 → 255), truth values 0 and 255; floats stay as they are.
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
        except (OSError, ValueError, RuntimeError) as error:       # a chunk of a damaged file
            raise UnreadableImage(f"cannot read {self.name!r} at {slices}: {' '.join(str(error).split())}") from error
        if isinstance(found, Tensor):
            return found
        values = np.asarray(found)
        if values.dtype == np.uint16:
            values = np.rint(values / 257).astype(np.uint8)
        elif values.dtype == np.bool_:
            values = values.astype(np.uint8) * 255
        return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("=")))


def picture(image: Any, name: str = "image") -> Picture:
    """A tensor (C, H, W), an array (C, H, W), (H, W, C) or (H, W), a Pillow image, or the path of a file, as a Picture.

    Of an array's three axes the last is the channels' if it is no longer than 4, else the first. TIFFs of more than 67
    million pixels and .npy files are mapped into memory, Zarr arrays (folders) read chunk by chunk, other files whole.
    Raises UnreadableImage.
    """
    if isinstance(image, str | Path):
        return picture(_opened(Path(image)), str(image))
    if isinstance(image, Image.Image):
        image = to_tensor(image)
    shape, dtype = tuple(getattr(image, "shape", ())), str(getattr(image, "dtype",
                                                                   type(image).__name__)).removeprefix("torch.")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise UnreadableImage(f"{name!r} has the shape {shape}: an image is (H, W), (H, W, C) or (C, H, W)")
    if not dtype.lstrip("<>|").startswith(("uint8", "u1", "uint16", "u2", "bool", "float", "f4", "f8")):
        raise UnreadableImage(f"{name!r} holds {dtype}, whose scale is not known: save it as uint8, uint16, or "
                              "floats from 0 to 1")
    last = len(shape) == 3 and not isinstance(image, Tensor) and shape[2] <= 4
    return Picture(image, None if len(shape) == 2 else 2 if last else 0, name)


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


def _opened(path: Path) -> Any:
    if not path.exists():
        raise UnreadableImage(f"there is no image {str(path)!r}")
    try:
        return _OPEN[kind(path)](path)
    except ImportError as error:
        raise ConvatlasError(NEEDS[(error.name or "").partition(".")[0]]) from error
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes the libraries raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"cannot read the image {str(path)!r}: {reason}") from error


def _npy(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _zarr(path: Path) -> Any:
    import zarr

    found = zarr.open(str(path), mode="r")
    if isinstance(found, zarr.Array):
        return found
    inside = ", ".join(repr(f"{path}/{name}") for name, _ in found.arrays()) or "none"
    raise UnreadableImage(f"{str(path)!r} is a group of Zarr arrays: name one of them ({inside})")


def _tiff(path: Path) -> Any:
    """Mapped where the pixels lie uncompressed in one piece, else through Zarr, strip by strip or tile by tile."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        ends = [offset + count for page in series.pages if page is not None
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > path.stat().st_size:
            raise UnreadableImage(f"the TIFF {str(path)!r} is truncated: its pixels end at byte {max(ends)}, "
                                  f"the file at {path.stat().st_size}")
        if series.dataoffset is not None:
            return tifffile.memmap(path, mode="r")
    import zarr

    return zarr.open(tifffile.imread(path, aszarr=True), mode="r")


def _pixels(path: Path) -> int:
    """As the header says; Pillow warns of a large image, which is what is asked for here."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except Exception:       # not Pillow's kind of TIFF: tifffile may know it
        return MAPPED + 1
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def reflected(start: int, count: int, length: int) -> Tensor:
    """Indices of start, start + 1, … among `length` pixels if the image goes on mirrored beyond its ends: int64
    (count,).
    """
    period = max(2 * (length - 1), 1)
    place = torch.arange(start, start + count) % period
    return torch.minimum(place, period - place) if length > 1 else torch.zeros_like(place)


_OPEN = {"npy": _npy, "zarr": _zarr, "tiff": _tiff, "picture": read_image}
