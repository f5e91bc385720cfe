"""Files read within bounds: whatever one claims or unfolds to, it takes a moment, and memory as it is long.

All that is refused here is a ValueError whose words fit after "cannot be read:"; readers put it into their sentence.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .files import regular

if TYPE_CHECKING:       # commands start without NumPy
    from numpy.typing import NDArray

LONGEST = 2**21         # bytes of a text; JSON of [],[],… takes 24 times as much when it is read
HEAD = 2**22            # bytes of a safetensors file's header
MOST, DEEPEST = 2**20, 60       # values in a tree, aliases followed, and levels of it
DIGITS = 20             # of a whole number: 2**64 has so many
FEW = 2**26             # bytes that any archive may unfold to
RATIO = 50              # by which a file may grow when it is unpacked, beyond FEW
SPARSE = 200            # the same of pictures, which may be nearly all black
MEMBERS = 2**15         # of an archive; tensors in a file
BLOCK = 2**20           # bytes that are read at once


def content(path: Path, most: int = LONGEST) -> bytes:
    """A regular file's bytes, at most so many."""
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if not regular(path):       # opening a FIFO waits for ever, reading a device never ends
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"it is longer than {most:,} bytes")
    return found


def text(path: Path, most: int = LONGEST) -> str:
    """A regular file's UTF-8 text, of at most so many bytes, line ends as they are."""
    return content(path, most).decode("utf-8")


def read_json(path: Path, most: int = LONGEST) -> Any:
    """The JSON in a file: see `parse_json`."""
    return parse_json(text(path, most))


def parse_json(words: str) -> Any:
    """JSON as plain values: no number beyond 64 bits or float64, no tree deeper than `DEEPEST` or of more than `MOST`
    values.
    """
    try:
        return tree(json.loads(words, parse_int=_whole, parse_float=_real))
    except RecursionError as error:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from error


def _whole(word: str) -> int:
    if len(word) > DIGITS:
        raise ValueError(f"the number {word[:DIGITS]}… has {len(word)} digits")
    return int(word)


def _real(word: str) -> float:
    value = float(word)
    if math.isinf(value):
        raise ValueError(f"the number {word[:DIGITS]} is too large")
    return value


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def tree(values: Any, most: int = MOST, children: Callable[[Any], Iterable[Any]] = _children) -> Any:
    """`values`, nested mappings and lists, as they are, if they have few levels and few values when what stands in
    several places is counted in each.
    """
    level, count = [values], 1
    for _ in range(DEEPEST):
        level = list(islice((child for value in level for child in children(value)), most + 1 - count))
        count += len(level)
        if count > most:
            raise ValueError(f"it holds more than {most:,} values")
        if not level:
            return values
    raise ValueError(f"it is nested more than {DEEPEST} deep")


def plausible(claimed: int, held: int) -> None:
    """Refuse what claims to be `claimed` bytes when it is unpacked from `held`."""
    if claimed > RATIO * held + FEW:
        raise ValueError(f"it claims to hold {claimed:,} bytes in a file of {held:,}: it is refused")


def unpacked(path: Path, most: int) -> bytes:
    """The bytes of a gzip file, at most `most` and none beyond; of a truncated one as many as there are.

    Raises zlib.error for damaged ones.
    """
    parts, left = list[bytes](), most
    with path.open("rb") as file:
        member = zlib.decompressobj(wbits=31)       # 31: a gzip header and checksum, not zlib's
        packed = file.read(BLOCK)
        while packed and left:
            parts.append(member.decompress(packed, left))
            left -= len(parts[-1])
            packed = member.unconsumed_tail
            if member.eof:                          # an archive may have several members
                packed, member = member.unused_data, zlib.decompressobj(wbits=31)
            packed = packed or file.read(BLOCK)
    return b"".join(parts)


@contextmanager
def archive(file: Path | IO[bytes], grows: int = RATIO) -> Iterator[zipfile.ZipFile]:
    """A zip archive, opened: of few members, which unfold to little more than the file, `grows` times as much at most.
    """
    with (file.open("rb") if isinstance(file, Path) else file) as stream:
        held = stream.seek(0, 2)
        _check_directory(stream, held)
        with zipfile.ZipFile(stream) as found:
            entries = found.infolist()
            if len(entries) > MEMBERS:
                raise ValueError(f"it has more than {MEMBERS:,} members")
            claimed = sum(entry.file_size for entry in entries)
            if claimed > grows * held + FEW:
                raise ValueError(f"it claims to hold {claimed:,} bytes in a file of {held:,}: it is refused")
            yield found


def _check_directory(file: IO[bytes], held: int) -> None:
    """Refuse a list of members that zipfile would take long to read: one of 46 bytes becomes an object of a thousand.
    """
    file.seek(max(0, held - 2**16 - 100))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    count, size = (int.from_bytes(end[at + start:at + start + width], "little") if at >= 0 else 0
                   for start, width in ((10, 2), (12, 4)))
    if (more := end.rfind(b"PK\6\6")) >= 0:         # of archives of more than 4 GB or 65 535 members
        count, size = (int.from_bytes(end[more + start:more + start + 8], "little") for start in (32, 40))
    if count > MEMBERS or size > MEMBERS * 128:
        raise ValueError(f"it has more than {MEMBERS:,} members, or long names")


def arrays(file: Path | IO[bytes], grows: int = RATIO) -> "dict[str, NDArray[Any]]":
    """The arrays of an .npz by name; each must be as long as its header says, and none may hold Python objects."""
    import numpy as np

    found = dict[str, Any]()
    try:
        with archive(file, grows) as members:
            for entry in members.infolist():
                if entry.filename.endswith(".npy"):
                    with members.open(entry) as stream:
                        try:
                            claimed = _claimed(stream)
                        except ValueError as error:
                            raise ValueError(f"{entry.filename.removesuffix('.npy')!r}: {error}") from error
                    if claimed > entry.file_size:
                        raise ValueError(f"{entry.filename!r} claims {claimed:,} bytes and has {entry.file_size:,}")
                    with members.open(entry) as stream:
                        found[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(
                            stream, allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:      # on broken bytes zipfile and NumPy raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
    return found


def array(path: Path) -> "NDArray[Any]":
    """The array of an .npy file, mapped; it must be as long as its header says."""
    import numpy as np

    try:
        with path.open("rb") as stream:
            claimed, held = _claimed(stream), stream.seek(0, 2)
        if claimed > held:
            raise ValueError(f"it claims {claimed:,} bytes and has {held:,}")
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:      # on broken bytes NumPy raises nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
    return found


def _claimed(stream: IO[bytes]) -> int:
    """The bytes that an .npy's header claims for its values."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays of version {version} have names for columns, and are not read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled; save it as plain numbers or text")
    return math.prod(shape) * dtype.itemsize


def safetensors_head(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: {name: {dtype, shape, data_offsets}}, and `__metadata__`."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        held = file.seek(0, 2)
        if not 2 <= length <= held - 8:
            raise ValueError(f"its header claims {length:,} bytes of {held:,}")
        if length > HEAD:
            raise ValueError(f"its header is longer than {HEAD:,} bytes")
        file.seek(8)
        head = parse_json(file.read(length).decode("utf-8"))
    if not isinstance(head, dict):
        raise ValueError("its header is no JSON object")
    if len(head) > MEMBERS:
        raise ValueError(f"it has more than {MEMBERS:,} tensors")
    return head
