"""A planned and tuned network in a folder: its steps and what was found fastest in native.json, its weights in
native.safetensors.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from ... import bounded
from ...errors import ConvatlasError
from ...files import DEPLOYED, check_format, digest, put
from ...memory import fits
from .engine import Choice, Network
from .work import Floats, Work, lay_out, precision_of, read, written

STEPS, WEIGHTS = "native.json", "native.safetensors"
# of both together, by precision; 1 where results were no steps, 4 where the maps of bf16 were floats
FORMATS = {"fp32": 2, "int8": 3, "bf16": 5}


def save(network: Network, folder: Path) -> None:
    """Leave in `folder` what `load` reads."""
    put_plan(folder, network.works, network.threads, network.parts, network.choices)


def put_plan(folder: Path, works: Sequence[Work], threads: int = 1, parts: Mapping[int, int] | None = None,
             choices: Mapping[str, Choice] | None = None, half: bool = False) -> None:
    """The same of steps that nothing was tuned for, or of what was; `half` writes weights as fp16, which only the
    WebAssembly build reads.
    """
    tree, weights = plain(works, threads, parts, choices, half)
    put(folder / WEIGHTS, weights)
    tree |= {"weights_sha256": digest(folder / WEIGHTS)}
    put(folder / STEPS, json.dumps({**tree, "sha256": _checksum(tree)}, ensure_ascii=False) + "\n")


def plain(works: Sequence[Work], threads: int = 1, parts: Mapping[int, int] | None = None,
          choices: Mapping[str, Choice] | None = None, half: bool = False) -> tuple[dict[str, Any], bytes]:
    """The same in memory, without checksums: the steps as plain values, and the file of weights."""
    steps, arrays = written(works)
    weights = to_bytes({name: array.astype(np.float16) if half else array for name, array in arrays.items()})
    number = FORMATS[precision_of(works)]
    return {"format": number, "threads": threads, "parts": {str(n): part for n, part in (parts or {}).items()},
            "layers": dict(choices or {}), **steps}, weights


def load(folder: Path, threads: int = 0, few: bool = False, precision: str | None = None) -> Network:
    """The network, for so many threads; 0: as many as it was tuned for, but no more than there are cores.

    With `precision` one that computes in another is refused. For other numbers of threads nothing is tuned, nor for
    `few` images: it is then ready sooner, since its weights are smaller.
    Raises ConvatlasError for files that `save` did not write.
    """
    with _intact(folder):
        tree = _tree(folder)
        if "weights_sha256" in tree and tree["weights_sha256"] != digest(folder / WEIGHTS):     # older ones have none
            raise ValueError(f"{WEIGHTS} has been changed")
        bounded.safetensors_head(folder / WEIGHTS)
        arrays: dict[str, Floats] = load_file(folder / WEIGHTS)
        works = read(tree, arrays)
        wanted, parts, layers = _tuned(tree)
        if precision is not None and precision_of(works) != precision:
            raise ValueError(f"its steps compute in {precision_of(works)}, and {DEPLOYED} says {precision}")
    if not fits(room := 4 * lay_out(works)):
        raise ConvatlasError(f"{str(folder / STEPS)!r} says that the maps of one image take {room / 1e9:.1f} GB, more "
                             "memory than is free: deploy again, for smaller images")
    threads = threads or max(1, min(wanted, os.cpu_count() or 1))
    known = threads == wanted and not few
    return Network(works, threads, parts if known else None, layers if known else None, winograd=not few)


def tuned(folder: Path) -> tuple[int, dict[int, int], dict[str, Choice]]:
    """Speeds of the network in `folder`, as tuning found them: for how many threads, and `parts` and `choices` as
    `Network` takes them.
    """
    with _intact(folder):
        return _tuned(_tree(folder))


def _tuned(tree: Mapping[str, Any]) -> tuple[int, dict[int, int], dict[str, Choice]]:
    return (int(tree["threads"]), {int(n): int(part) for n, part in tree["parts"].items()},
            {key: (str(kind), int(tile), int(gather), int(share))
             for key, (kind, tile, gather, share) in tree["layers"].items()})


def _tree(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = bounded.read_json(folder / STEPS)
    check_format(tree.get("format"), max(FORMATS.values()), repr(str(folder / STEPS)))
    if "sha256" in tree and tree.pop("sha256") != _checksum(tree):      # older ones have none
        raise ValueError(f"{STEPS} has been changed")
    return tree


@contextmanager
def _intact(folder: Path) -> Iterator[None]:
    """A ConvatlasError for whatever reading files that `save` did not write raises."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ConvatlasError(f"{str(folder / STEPS)!r} and {WEIGHTS} beside it are not what convatlas wrote ({error}): "
                             "deploy again") from error


def _checksum(tree: Mapping[str, Any]) -> str:
    """SHA-256 of what native.json says, however it is laid out."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
