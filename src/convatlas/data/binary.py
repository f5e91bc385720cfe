"""Reads the files of MNIST (idx) and of CIFAR's binary version, checking every size before it believes a header."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import bounded
from ..errors import ConvatlasError

Bytes = NDArray[np.uint8]


def read_idx(path: Path, dims: int) -> Bytes:
    """The array of unsigned bytes in an idx file (`.gz` or not) with `dims` dimensions: 3 for images, 1 for labels.

    The format: two zero bytes, 8 for unsigned bytes, the number of dimensions, each size as a big-endian 32-bit
    integer, then the values.
    """
    start = 4 + 4 * dims
    head = _content(path, start)
    if len(head) < start:
        raise ConvatlasError(
            f"{str(path)!r} is truncated: its header alone has {start} bytes, {len(head)} were found; fetch it again"
        )
    magic = bytes((0, 0, 8, dims))
    if head[:4] != magic:
        raise ConvatlasError(
            f"{str(path)!r} is no idx file of unsigned bytes in {dims} dimensions: "
            f"it begins with {head[:4].hex(' ')}, not {magic.hex(' ')}"
        )
    shape = struct.unpack(f">{dims}I", head[4:])
    size = start + math.prod(shape)
    # a .gz can hold little more; of a plain file what is not there is missed below
    content = _content(path, min(size, bounded.RATIO * path.stat().st_size + bounded.FEW) + 1)
    _check_size(path, size, len(content))
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def read_cifar(path: Path, records: int, label_bytes: int) -> tuple[Bytes, Bytes]:
    """Images (records, 3, 32, 32) and labels (records,) of one file of CIFAR's binary version.

    A record is `label_bytes` labels (CIFAR-100: the coarse one, then the fine one; the last is taken), then the red,
    the green and the blue plane, row by row.
    """
    width = label_bytes + 3 * 32 * 32
    content = _content(path, records * width + 1)
    _check_size(path, records * width, len(content))
    rows = np.frombuffer(content, np.uint8).reshape(records, width)
    return rows[:, label_bytes:].reshape(records, 3, 32, 32).copy(), rows[:, label_bytes - 1].copy()


def _content(path: Path, most: int) -> bytes:
    """The bytes of a file, unpacked, at most so many; of a truncated `.gz` as many as there are, so that the reader can
    count them.
    """
    try:
        if path.suffix == ".gz":
            return bounded.unpacked(path, most)
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, zlib.error) as error:
        raise ConvatlasError(f"cannot read {str(path)!r}: {error}") from error


def _check_size(path: Path, expected: int, found: int) -> None:
    if found != expected:
        what = "is truncated" if found < expected else "is too long"
        raise ConvatlasError(f"{str(path)!r} {what}: {expected} bytes are expected, {found} were found; fetch it again")
