"""Pictures in tar shards that lie elsewhere (S3, GCS, HTTP, the hub) or were made by others: read one shard after the
other.

Opening and reading is Hugging Face `datasets`' work, in streaming mode; order, shares and resuming are decided here.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ... import bounded
from ...errors import ConvatlasError, installing
from ...files import cache_dir, put
from ..images import Encoded, Source
from ..split import Split
from .local import FORMAT, INDEX, Part, as_source, decoded, held_out, read_index

log = logging.getLogger("convatlas")


def is_stream(source: str) -> bool:
    """True if `source` is for `open_stream`: an address, or tar files."""
    return "://" in source or source.endswith(".tar")


def open_stream(source: str, split: Split) -> Source:
    """Open shards by their address.

    `source` is the address of a folder that `convatlas data shard` wrote, or names tar files of the WebDataset layout:
    `s3://bucket/train-*.tar`, `https://host/train-{000000..000127}.tar` (HTTP cannot list files), or a local pattern.
    Those are read once to count them, which is kept in the user's cache; their classes are numbers, and the last of
    them are held out for validation. Raises ConvatlasError.
    """
    _need_datasets()
    name = source.rstrip("/").rpartition("/")[2]
    if not source.endswith(".tar"):
        root = source.rstrip("/")
        classes, found = read_index(lambda file: _fetch(f"{root}/{file}"), root)
        return as_source(name, root, classes, found, split, lambda part: _indexed(root, part))
    urls = expanded(source)
    labels = [_counted(url, urls) for url in urls]
    classes = tuple(str(number) for number in range(max(int(each.max()) for each in labels) + 1))
    if split.for_eval:
        everything = Stream(urls, labels)
        return Source(name, classes, everything, everything, (f"All {len(everything)} images of {source} are judged.",),
                      layout="tar files")
    kept = held_out(len(urls), split.val_fraction, source)
    note = f"{source} has no validation part: its last {len(urls) - kept} shard(s) are held out."
    return Source(name, classes, Stream(urls[:kept], labels[:kept]), Stream(urls[kept:], labels[kept:]), (note,),
                  layout="tar files")


def _need_datasets() -> None:
    try:
        import datasets
    except ImportError as error:
        raise ConvatlasError("shards that are not on a local disk are read by Hugging Face datasets; "
                             f"install it: {installing('stream')}") from error
    datasets.disable_progress_bars()        # its bars about resolving file names would break ours


EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}       # of a protocol; of all others, `stream`


def _needing(url: str, error: ImportError) -> ConvatlasError:
    """The refusal of an address whose protocol's library is absent."""
    return ConvatlasError(f"cannot open {url!r}: {error}; {installing(EXTRAS.get(url.partition('://')[0], 'stream'))}")


def _fetch(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read()
            return content
    except ImportError as error:
        raise _needing(url, error) from error
    except ValueError as error:                     # a protocol that nobody knows
        raise ConvatlasError(f"cannot open {url!r}: {error}") from error
    except FileNotFoundError as error:
        raise ConvatlasError(
            f"there is no {url!r}; a folder of shards has an {INDEX} (convatlas data shard makes one); "
            "otherwise name the tar files themselves, such as …/train-*.tar or …/train-{000..127}.tar") from error


def expanded(pattern: str) -> list[str]:
    """The tar files that a pattern names: `{000..127}` counts, `*`, `?` and `[…]` are looked up."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if braces:
        first, last = braces.groups()
        numbers = range(int(first), int(last) + 1)
        return [url for number in numbers
                for url in expanded(pattern[: braces.start()] + f"{number:0{len(first)}d}" + pattern[braces.end() :])]
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(pattern)
        found = sorted(system.glob(path))
    except ImportError as error:
        raise _needing(pattern, error) from error
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"cannot look up {pattern!r}: {error}") from error
    if not found:
        raise ConvatlasError(f"no file fits {pattern!r}")
    return [system.unstrip_protocol(path) if "://" in pattern else path for path in found]


def _indexed(root: str, part: Part) -> "Stream":
    bounds = np.cumsum([shard.images for shard in part.shards])[:-1]
    labels = [torch.from_numpy(each) for each in np.split(part.label, bounds)]
    return Stream([f"{root}/{shard.file}" for shard in part.shards], labels, part)


def _counted(url: str, urls: Sequence[str]) -> Tensor:
    """The labels of a shard without an index: int64 (n,); read once, then kept in the user's cache."""
    kept = cache_dir() / "shards" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"
    try:
        with suppress(ValueError, KeyError, TypeError, AttributeError, RuntimeError):     # it is counted again
            known = bounded.read_json(kept) if kept.is_file() else {}
            if known and known.get("format", FORMAT) == FORMAT:
                return torch.tensor(known["labels"], dtype=torch.int64)
        log.info("counting the images of %s, once (%d of %d)", url, urls.index(url) + 1, len(urls))
        labels = [sample.label for sample in _samples(_opened((url,)), url)]
        if not labels:
            raise ConvatlasError(f"the shard {url!r} holds no images")
        put(kept, json.dumps({"format": FORMAT, "url": url, "labels": labels}), parents=True)
    except OSError as error:
        raise ConvatlasError(f"cannot keep what was counted in {str(kept)!r}: {error.strerror or error}") from error
    return torch.tensor(labels, dtype=torch.int64)


class Sample(NamedTuple):
    """One picture as it lies in a shard."""

    content: bytes
    label: int


def _opened(urls: Sequence[str]) -> Any:
    """Tar files as one `datasets.IterableDataset`, pictures undecoded."""
    import datasets

    try:
        found = datasets.load_dataset("webdataset", data_files={"train": list(urls)}, split="train", streaming=True)
    except Exception as error:      # whatever the file system's library raises
        raise _unreadable(urls[0], error) from error
    pictures = [field for field, kind in found.features.items() if isinstance(kind, datasets.Image)]
    if len(pictures) != 1 or "cls" not in found.features:
        fields = ", ".join(field for field in found.features if not field.startswith("__"))
        raise ConvatlasError(f"the samples in {urls[0]!r} hold {fields}; they must hold one picture, and its class "
                             "number as .cls")
    return found.decode(False).select_columns([pictures[0], "cls"]).rename_column(pictures[0], "picture")


def _samples(opened: Any, url: str) -> Iterator[Sample]:
    try:
        for sample in opened:
            yield Sample(sample["picture"]["bytes"], int(sample["cls"]))
    except Exception as error:      # tarfile's, the network's, or a sample that lacks a field
        raise _unreadable(url, error) from error


def _unreadable(url: str, error: Exception) -> ConvatlasError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ConvatlasError(f"the shard {url!r} cannot be read: {reason}; check the address and the file, then resume")


class Stream(Encoded):
    """The pictures of some shards. `read` gives one; for many, take whole shards."""

    def __init__(self, urls: Sequence[str], labels: Sequence[Tensor], part: Part | None = None):
        self.urls = tuple(urls)
        self.labels = self._written = torch.cat(list(labels))
        self.counts = [len(each) for each in labels]
        self.starts = [0, *np.cumsum(self.counts).tolist()]
        self._part = part               # where every picture lies, if that is known

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """A digest of its shards: of their contents, where an index has it, else of their names and labels."""
        if self._part is not None:
            return self._part.digest
        names = " ".join(url.rpartition("/")[2] for url in self.urls).encode()
        return hashlib.sha256(names + self._written.numpy().tobytes()).hexdigest()[:32]

    @cached_property
    def _dataset(self) -> Any:
        return _opened(self.urls)

    def shard(self, number: int) -> list[bytes]:
        """The files of all pictures in a shard, in its order. Raises ConvatlasError where it has changed since."""
        samples = list(self._reading(number))
        labels = self._written[self.starts[number] : self.starts[number + 1]].tolist()
        if [sample.label for sample in samples] != labels:
            raise ConvatlasError(
                f"the shard {self.urls[number]!r} holds {len(samples)} images, which are not the {len(labels)} "
                "that were counted: it was changed, or its index belongs to another one; index it again")
        return [sample.content for sample in samples]

    def relabeled(self, labels: Tensor) -> "Stream":
        """The same pictures with other numbers for their classes: int64 (N,)."""
        other = copy(self)
        other.labels = labels
        return other

    def read(self, index: int) -> Tensor:
        """The picture as uint8 (1 or 3, H, W); raises UnreadableImage. Without an index, reads the shard up to it."""
        number = self._shard(index)
        if self._part is None:
            sample = next(islice(self._reading(number), index - self.starts[number], None))
            return decoded(sample.content, self.name(index), self.how)
        import fsspec

        try:
            with fsspec.open(self.urls[number], "rb") as file:
                file.seek(int(self._part.offset[index]))
                content = file.read(int(self._part.size[index]))
        except Exception as error:
            raise _unreadable(self.urls[number], error) from error
        return decoded(content, self.name(index), self.how)

    def name(self, index: int) -> str:
        """`s3://bucket/shard-000000.tar[17]`, counted within the shard."""
        number = self._shard(index)
        return f"{self.urls[number]}[{index - self.starts[number]}]"

    def _reading(self, number: int) -> Iterator[Sample]:
        return _samples(self._dataset.shard(num_shards=len(self.urls), index=number), self.urls[number])

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self.starts, index, side="right")) - 1
