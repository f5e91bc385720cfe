"""Results while they are made: arrays on disk, written part by part, and the journal that says which parts are."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import bounded
from ..errors import ConvatlasError
from ..files import check_format, put, writing

ELSEWHERE = "name another folder with --out"
JOURNAL, TILE, FORMAT = "journal.jsonl", "tile chosen", 1
LONGEST = 2**24         # bytes of a journal, in which a band takes about thirty


class Journal:
    """Journal of the bands that are written of each image, one line each, in the output folder as long as the work is
    not done.

    The first line says what work it is, and the tile that was chosen for it, which may have depended on the memory that
    was free. Processes append to it at once: a line is written by one call. What a killed process left of a line is cut
    off when work begins again.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = folder / JOURNAL, json.loads(json.dumps(settings))
        self.tile = 0
        self.done: set[tuple[str, int]] = set()

    def begin(self, choose: Callable[[], int]) -> str:
        """Go on with unfinished work of the same settings, or write the first line; returns the journal, for `take` in
        all processes.

        What there is of other settings is a ConvatlasError, unless nothing is done yet.
        """
        with writing(self.path, ELSEWHERE):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = self._text() if self.path.is_file() else ""
            lines = _whole(text)
            if not self._continues(lines):
                lines = [json.dumps({"format": FORMAT, **self.settings, TILE: choose()}) + "\n"]
            if "".join(lines) != text:
                put(self.path, "".join(lines), ELSEWHERE)
        return "".join(lines)

    def take(self, text: str | None = None) -> None:
        """Learn what is done from `text`, or from what the file says by now."""
        first, *rest = _whole(self._text() if text is None else text)
        try:
            self.tile = int(bounded.parse_json(first)[TILE])
            self.done = {(str(image), int(band)) for image, band in map(bounded.parse_json, rest)}
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise self._damaged(error) from error

    def _text(self) -> str:
        try:
            return bounded.text(self.path, LONGEST)
        except ValueError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ConvatlasError:
        return ConvatlasError(f"the journal {str(self.path)!r} is damaged ({' '.join(str(error).split())}): delete it "
                              "to begin again")

    def _continues(self, lines: list[str]) -> bool:
        """True if these lines are of the same work."""
        try:
            known = bounded.parse_json(lines[0]) if lines else {}
            if not isinstance(known, dict):
                raise ValueError("its first line is no JSON object")
        except ValueError as error:
            raise self._damaged(error) from error
        check_format(known.get("format"), FORMAT, f"the unfinished work in {str(self.path.parent)!r}")
        same = bool(lines) and {key: known.get(key) for key in self.settings} == self.settings
        if same or len(lines) < 2:
            return same
        raise ConvatlasError(f"{str(self.path.parent)!r} holds unfinished work with another network, other images or "
                             f"other settings: name another folder with --out, or delete {self.path.name} there")

    def add(self, image: str, band: int) -> None:
        """Note that a band is written: in one piece, and on the disk before this returns."""
        with writing(self.path, ELSEWHERE):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, (json.dumps([image, band]) + "\n").encode())
                os.fsync(handle)
            finally:
                os.close(handle)

    def end(self) -> None:
        """All is done."""
        self.path.unlink(missing_ok=True)


def _whole(text: str) -> list[str]:
    """Its lines, without one whose writing is under way, or was when the process was killed."""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def create(path: Path, shape: tuple[int, ...], dtype: str, chunk: int) -> None:
    """An array of zeros on disk, as large as it will be, of the kind that `path` ends in: .npy, .tif or .zarr.

    `chunk` is the side of Zarr's chunks. Its room is taken at once, so that a full disk is told now, and not by a
    signal later.
    """
    with writing(path, ELSEWHERE):
        if path.suffix == ".zarr":
            import zarr

            chunks = (*shape[:-2], min(chunk, shape[-2]), min(chunk, shape[-1]))
            zarr.create_array(str(path), shape=shape, chunks=chunks, dtype=dtype, overwrite=True)
            return
        room, free = int(np.prod(shape)) * np.dtype(dtype).itemsize, shutil.disk_usage(path.parent).free
        if room > free:
            raise ConvatlasError(f"{str(path)!r} takes {room / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free: "
                                 "name another folder with --out")
        if path.suffix == ".npy":
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        else:
            import tifffile

            tifffile.memmap(path, shape=shape, dtype=dtype)
        try:
            with path.open("r+b") as file:
                if os.name == "posix":
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError:
            path.unlink()
            raise


def opened(path: Path) -> Any:
    """The array that `create` made, to be written by slices; several processes may."""
    if path.suffix == ".zarr":
        import zarr

        return zarr.open_array(str(path), mode="r+")
    if path.suffix == ".npy":
        return np.lib.format.open_memmap(path, mode="r+")
    import tifffile

    return tifffile.memmap(path, mode="r+")


def flush(*arrays: Any) -> None:
    """Mapped files to the disk; Zarr has written its chunks."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()
