"""Reads the files of MNIST (idx) and of CIFAR's binary version, checking every size before it believes a header."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvatlasError

Bytes = NDArray[np.uint8]


def read_idx(path: Path, dims: int) -> Bytes:
    """The array of unsigned bytes in an idx file (`.gz` or not) with `dims` dimensions: 3 for images, 1 for labels.

    The format: two zero bytes, 8 for unsigned bytes, the number of dimensions, each size as a big-endian 32-bit
    integer, then the values.
    """
    content = _content(path)
    start = 4 + 4 * dims
    if len(content) < start:
        raise ConvatlasError(
            f"{str(path)!r} is truncated: its header alone has {start} bytes, {len(content)} were found; fetch it again"
        )
    magic = bytes((0, 0, 8, dims))
    if content[:4] != magic:
        raise ConvatlasError(
            f"{str(path)!r} is no idx file of unsigned bytes in {dims} dimensions: "
            f"it begins with {content[:4].hex(' ')}, not {magic.hex(' ')}"
        )
    shape = struct.unpack(f">{dims}I", content[4:start])
    _check_size(path, start + math.prod(shape), len(content))
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def read_cifar(path: Path, records: int, label_bytes: int) -> tuple[Bytes, Bytes]:
    """Images (records, 3, 32, 32) and labels (records,) of one file of CIFAR's binary version.

    A record is `label_bytes` labels (CIFAR-100: the coarse one, then the fine one; the last is taken), then the red,
    the green and the blue plane, row by row.
    """
    content = _content(path)
    width = label_bytes + 3 * 32 * 32
    _check_size(path, records * width, len(content))
    rows = np.frombuffer(content, np.uint8).reshape(records, width)
    return rows[:, label_bytes:].reshape(records, 3, 32, 32).copy(), rows[:, label_bytes - 1].copy()


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked; of a truncated `.gz` as many as there are, so that the reader can count them."""
    try:
        packed = path.read_bytes()
        if path.suffix != ".gz":
            return packed
        parts: list[bytes] = []
        while packed:                                   # an archive may have several members
            member = zlib.decompressobj(wbits=31)       # 31: a gzip header and checksum, not zlib's
            parts.append(member.decompress(packed))
            packed = member.unused_data
        return b"".join(parts)
    except (OSError, zlib.error) as error:
        raise ConvatlasError(f"cannot read {str(path)!r}: {error}") from error


def _check_size(path: Path, expected: int, found: int) -> None:
    if found != expected:
        what = "is truncated" if found < expected else "is too long"
        raise ConvatlasError(f"{str(path)!r} {what}: {expected} bytes are expected, {found} were found; fetch it again")
