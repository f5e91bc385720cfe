"""Weights by name: `hf-hub:org/name`, `timm/resnet50.a1_in1k`, `torchvision/IMAGENET1K_V2`.

Fetched only where it is allowed, and kept.
"""

import os
from contextlib import suppress
from pathlib import Path

from ..errors import ConvatlasError, installing, nearest
from .pretrained import catalog

FILES = ("model.safetensors", "pytorch_model.bin")      # of a repository, the first that it has
PREFIXES = ("hf-hub:", "timm/", "torchvision/")
ALLOW = "CONVATLAS_DOWNLOAD"


def is_name(source: str | Path) -> bool:
    """True if it names weights on a hub, and is not a path."""
    return isinstance(source, str) and source.startswith(PREFIXES) and not Path(source).expanduser().exists()


def fetch(name: str, variant: str | None, download: bool) -> Path:
    """The file of the weights `name`, from the cache, or from the network with `download` (or CONVATLAS_DOWNLOAD=1 in
    the environment).

    `variant` says whose weights torchvision/… means. Raises ConvatlasError where they are not there, or not known.
    """
    allowed = download or os.environ.get(ALLOW, "") not in ("", "0")
    if name.startswith("torchvision/"):
        return _torchvision(name, variant, allowed)
    repository, _, revision = name.removeprefix("hf-hub:").partition("@")
    if name.startswith("timm/") and "." not in name:
        near = nearest(name, [each.id for each in catalog() if variant is None or each.ours == variant])
        raise ConvatlasError(f"weights {name!r} lack the tag of a training, as in timm/resnet50.a1_in1k{near}; "
                             "`convatlas list --pretrained` shows those that are known")
    return _repository(name, repository, revision or None, allowed)


def _repository(name: str, repository: str, revision: str | None, allowed: bool) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise ConvatlasError(f"weights {name!r} lie on a hub, which needs an extra: "
                             f"{installing('hub')}") from error
    found: Path | None = None
    for file in FILES:
        try:
            found = Path(hf_hub_download(repository, file, revision=revision, local_files_only=not allowed))
            break
        except LocalEntryNotFoundError as error:
            if allowed:
                raise ConvatlasError(f"weights {name!r} are not here, and the hub cannot be reached: "
                                     f"{_first_line(error)}") from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
            raise ConvatlasError(f"weights {name!r} cannot be fetched: {_first_line(error)}") from error
    if found is None:
        why = (f"the repository has neither {' nor '.join(FILES)}" if allowed else
               "they are not in the cache, and nothing is downloaded unasked: allow it with --download, download=True "
               f"or {ALLOW}=1")
        raise ConvatlasError(f"weights {name!r} are not here: {why}")
    with suppress(EntryNotFoundError, HfHubHTTPError, OSError):     # it says how pictures are prepared
        hf_hub_download(repository, "config.json", revision=revision, local_files_only=not allowed)
    return found


def _torchvision(name: str, variant: str | None, allowed: bool) -> Path:
    import torch
    from torchvision.models import get_model_weights

    known = [each for each in catalog() if each.id.startswith("torchvision/") and variant in (None, each.ours)]
    if variant is None:
        raise ConvatlasError(f"{name!r} says whose weights, not which network's: create_model(NAME, weights={name!r})")
    chosen = next((each for each in known if each.id == name), None)
    if chosen is None:
        there = ", ".join(each.id for each in known)
        raise ConvatlasError(f"torchvision has no weights {name!r} of {variant}"
                             + (f"; it has {there}" if there else ""))
    kept = Path(torch.hub.get_dir()) / "checkpoints" / chosen.file
    if kept.is_file():
        return kept
    if not allowed:
        raise ConvatlasError(f"weights {name!r} of {variant} are not here ({str(kept)!r}), and nothing is downloaded "
                             f"unasked: allow it with --download, download=True or {ALLOW}=1")
    try:
        get_model_weights(chosen.network)[name.partition("/")[2]].get_state_dict(progress=False, check_hash=True,
                                                                                 weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConvatlasError(f"weights {name!r} of {variant} cannot be fetched: {_first_line(error)}") from error
    return kept


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
