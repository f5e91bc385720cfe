"""Our own checkpoints: one safetensors file whose metadata names the network, its fields, classes and preprocessing.

The metadata is one JSON text under the key `convatlas`, so the file explains itself to anything that reads safetensors,
and nothing in it is ever executed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ConvatlasError
from ..files import check_format, is_deployed, whole_write
from ..run import Loss, Preprocess, Record
from ..runs.folder import CONFIG, WEIGHTS
from ..version import __version__
from .files import Foreign

KEY = "convatlas"
FORMAT = 1                  # of the metadata
FITTED = "preprocess."      # begins the names of tensors that belong to the preprocessing, not to the network


class Meta(Record):
    """What a checkpoint says of itself."""

    format: int = FORMAT
    model: str                              # the registered name
    fields: dict[str, Any] = Field({})      # what differs from the registered specification
    folded: bool = False                    # its tensors are those of convatlas.fold's result
    classes: tuple[str, ...] = ()
    preprocess: Preprocess = Preprocess()
    loss: Loss = Loss()                     # which the scores mean something by
    data: str = ""
    metrics: dict[str, float] = Field({})
    versions: dict[str, str] = Field({})


def save(path: Path, tensors: Mapping[str, Tensor], meta: Meta, fitted: Mapping[str, Tensor] | None = None) -> None:
    """Write tensors and metadata, atomically: `path` holds the old file or the new one, never half of one.

    `fitted` is what the preprocessing measured on the training images (`data.fitted.fit`); `read_fitted` reads it.
    """
    tensors = {**tensors, **{FITTED + name: tensor for name, tensor in (fitted or {}).items()}}
    meta = meta.model_copy(update={"versions": {"convatlas": __version__, "torch": torch.__version__}})
    with whole_write(path, errors=(OSError, SafetensorError)) as beside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, beside,
                  metadata={KEY: meta.model_dump_json()})


def find(source: str | Path) -> Path:
    """The weights file of a run folder, or the file itself."""
    path = Path(source).expanduser()
    if is_deployed(path):
        raise ConvatlasError(f"{str(source)!r} is a deployed folder, which answers and cannot be changed: give it to convatlas.predict or "
                             "convatlas.evaluate, and load the run or the weights that it was made of")
    if path.is_dir():
        if (path / WEIGHTS).is_file():
            return path / WEIGHTS
        if (path / CONFIG).is_file():
            raise ConvatlasError(f"the run {str(path)!r} has no {WEIGHTS} yet: let it finish an epoch (convatlas train --resume {path})")
        raise ConvatlasError(f"{str(path)!r} is not a run folder: it holds no {WEIGHTS}")
    if not path.is_file():
        raise ConvatlasError(f"there is no run folder and no weights file {str(path)!r}")
    return path


def is_ours(path: Path) -> bool:
    """Whether convatlas wrote the file."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_meta(source: str | Path) -> Meta:
    """What the checkpoint says of itself, without reading its tensors."""
    path = find(source)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise ConvatlasError(f"{str(path)!r} is not a readable safetensors file: {error}") from error
    if text is None:
        raise ConvatlasError(f"{str(path)!r} was not written by convatlas: it has no description of its network")
    with suppress(ValueError, AttributeError):      # what is no JSON is refused below
        check_format(json.loads(text).get("format"), FORMAT, repr(str(path)))
    try:
        return Meta.model_validate_json(text)
    except ValidationError as error:
        raise ConvatlasError(f"{str(path)!r} describes itself in a way this version ({__version__}) does not understand: "
                             f"{error.errors()[0]['msg']}") from error


def read_fitted(source: str | Path) -> dict[str, Tensor]:
    """What the preprocessing measured on the training images, by name; empty where it measures nothing."""
    path = find(source)
    read_meta(path)     # refuses what is not ours
    with safe_open(path, framework="pt") as file:
        return {name.removeprefix(FITTED): file.get_tensor(name) for name in file.keys() if name.startswith(FITTED)}    # noqa: SIM118


def apart(found: Foreign) -> tuple[Foreign, dict[str, Tensor]]:
    """The network's own tensors of one of our files, and its preprocessing's."""
    fitted = {name.removeprefix(FITTED): tensor for name, tensor in found.tensors.items() if name.startswith(FITTED)}
    return replace(found, tensors={name: tensor for name, tensor in found.tensors.items() if not name.startswith(FITTED)}), fitted
