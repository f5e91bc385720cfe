"""Weights into networks and out of them: files of ours, of torchvision and timm, and names of public weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import arch, weights
from ..errors import ConvatlasError
from ..files import whole_write
from ..net import registry
from ..net.card import Card, Provenance
from ..net.fold import fold, fold_structure
from ..net.meta import blank
from ..net.model import Convnet
from ..net.registry import Variant
from ..net.segmenter import Segmenter
from . import Foreign, Pretrained, Recognized, Report

__all__ = ["arch", "convert_weights", "explain_weights", "load", "load_weights", "save"]

Weights = str | Path | Mapping[str, Tensor]
IMAGENET = 1000         # classes, whose names torchvision knows


@dataclass(frozen=True)
class Opened:
    """A source of weights, before a network is built for it."""

    found: Foreign
    card: Card | None = None                # of our own files
    known: Pretrained | None = None         # of public ones


def load(path: str | Path, name: str | None = None, fields: Mapping[str, Any] | None = None, *,
         download: bool = False) -> Convnet:
    """A network with weights, in eval mode, from a run folder, a file (.safetensors, .pth, .h5, .npz), or a name of
    public weights.

    Names are `hf-hub:org/name`, `timm/resnet50.a1_in1k` and, with `name`, `torchvision/IMAGENET1K_V2`: they come from
    the cache, or from the network with `download`. `fields` change the specification that the file was trained with:
    other `num_classes` get a new classifier, other `in_chans` an adapted first convolution. The network's `card` has
    its classes, its preprocessing, the loss it was trained with, and in `provenance.report` the account of every
    tensor. Raises ConvatlasError for a file of another network than `name`, and for tensors that do not fit. A `name`
    that segments also begins from the classifier inside it, or from a network of coarser scores.
    """
    wanted = _variant(name)
    if wanted is not None and wanted.segments:
        return _segmenter(path, wanted, fields or {}, download).eval()
    return _network(_opened(path, wanted, download), wanted, fields or {})[0].eval()


def load_weights(model: Convnet, source: Weights, *, download: bool = False) -> Report:
    """Put weights into a network that is there; returns what became of each tensor, and keeps it as
    `model.card.provenance.report`.

    `source` is as in `load`, or a state dict. A file with another number of classes leaves the classifier as it is, and
    another number of channels adapts the first convolution. Weights of a network with other constants (BatchNorm's
    epsilon, TensorFlow's padding) than `model` was built with are a ConvatlasError, as are tensors that do not fit.
    """
    variant = registry.variant(model.name)
    opened = _opened(source, variant, download)
    spec = registry.plain(model.spec)
    folded = opened.card is not None and opened.card.folded is not None
    if folded and model.card.folded is None:
        raise ConvatlasError(f"{opened.found.where!r} is folded, which cannot be undone: load it with convatlas.load, "
                             "or fold the network")
    if model.card.folded is not None and not folded:
        whole, report = _network(opened, variant, model.card.fields)
        model.load_state_dict(fold(whole.eval()).state_dict())
        model.card = replace(model.card, provenance=_provenance(opened, report))
        return report
    known = _recognized(opened, variant, spec, model.state_dict())
    for field, value in known.peer.fields.items():
        if spec[field] != value and field not in ("num_classes", "in_chans", "image_size", "drop_rate"):
            what = f"{known.peer.library}'s {known.peer.name}, which computes with {field} = {value!r}"
            raise ConvatlasError(f"{opened.found.where} holds {what}, and this network has {spec[field]!r}: build it "
                                 f"with create_model({variant.name!r}, {field}={value!r})")
    report = weights.load_foreign(model, opened.found, known)
    model.card = replace(model.card, provenance=_provenance(opened, report))
    return report


def explain_weights(source: Weights, name: str | None = None, *, download: bool = False) -> Report:
    """Explain a file of weights: whose it is, and what loading would do with each tensor; `name` says which network, or
    all are tried.
    """
    wanted = _variant(name)
    return _network(_opened(source, wanted, download), wanted, {})[1]


def _variant(name: str | None) -> Variant | None:
    return None if name is None else registry.variant(name)


def _opened(source: Weights, wanted: Variant | None, download: bool) -> Opened:
    if not isinstance(source, str | Path):
        return Opened(weights.read(source))
    name = None if wanted is None else wanted.name
    path = (weights.fetch(source, name, download) if isinstance(source, str) and weights.is_name(source)
            else weights.find(source))
    if weights.is_ours(path):
        card = weights.read_card(path)      # first: what it says of itself is clearer than what its tensors lack
        return Opened(weights.of_network(weights.read(path)), card)
    return Opened(weights.read(path), known=weights.of_file(path))


def _provenance(opened: Opened, report: Report) -> Provenance:
    return replace(opened.card.provenance if opened.card else Provenance(), report=report)


def _recognized(opened: Opened, wanted: Variant | None, given: Mapping[str, Any],
                places: Mapping[str, Tensor] | None = None) -> Recognized:
    """Whose tensors these are; of our own files, which say so, only that they are `name`'s."""
    card = opened.card
    if card is None:
        named = opened.known.network if opened.known else ""
        return weights.recognize(opened.found, registry.build, ours=wanted.name if wanted else None,
                                 family=wanted.family if wanted else None, given=given, named=named)
    if wanted is not None and wanted.name != card.model:
        raise ConvatlasError(f"{opened.found.where!r} holds a {card.model!r}, not a {wanted.name!r}: ask for "
                             f"create_model({card.model!r}, …)")
    return weights.own_file(opened.found, card.model, card.fields, places)


def _network(opened: Opened, wanted: Variant | None, fields: Mapping[str, Any]) -> tuple[Convnet, Report]:
    """Built for the weights, filled with them, and knowing what they know."""
    card, known = opened.card, _recognized(opened, wanted, fields)
    changed = {**known.peer.fields, **fields} if card else {"num_classes": known.num_classes,
                                                            "in_chans": known.in_chans, **known.peer.fields, **fields}

    def build() -> Convnet:
        made = registry.build(known.peer.ours, changed)
        return fold_structure(made) if card and card.folded else made

    def fill(model: Convnet) -> Report:
        if card and not fields:
            weights.check_own(opened.found, card, model.state_dict())
        return weights.load_foreign(model, opened.found, _recognized(opened, wanted, fields, model.state_dict())
                                    if card else known)

    model, report = _filled(build, fill)
    own = model.card
    if card is not None:
        own = replace(card, spec=own.spec, classes=card.classes if len(card.classes) == model.num_classes else ())
    elif opened.known is not None:
        named = model.num_classes == known.num_classes == opened.known.classes == IMAGENET
        own = replace(own, preprocess=opened.known.preprocess, classes=imagenet() if named else ())
    model.card = replace(own, provenance=_provenance(opened, report))
    return model, report


def _segmenter(source: Weights, wanted: Variant, fields: Mapping[str, Any], download: bool) -> Convnet:
    """A network that segments: from weights of its own, of a coarser one, or of the classifier inside it."""
    with torch.device("meta"):
        empty = registry.build(wanted.name, fields)
    assert isinstance(empty, Segmenter)
    opened = _opened(source, _variant(empty.encoder) or wanted, download)
    card = opened.card
    if card is None:
        try:
            return _network(opened, wanted, fields)[0]
        except ConvatlasError:
            if empty.encoder is None:
                raise
    elif card.model == wanted.name:
        return _network(opened, wanted, fields)[0]
    inside = _variant(card.model if card else empty.encoder)
    coarser = card is not None and inside is not None and inside.segments
    other, report = _network(opened, inside, {} if coarser else {**empty.encoder_fields, "num_classes": 0})
    model = registry.build(wanted.name, {"num_classes": other.num_classes, **fields} if coarser else fields)
    assert isinstance(model, Segmenter)
    if isinstance(other, Segmenter):
        model.load_coarser(other)
    else:
        model.load_encoder(other)
    theirs = other.card.preprocess
    # what whole pictures gave does not fit patches
    model.card = replace(model.card, classes=other.card.classes if coarser else (),
                         provenance=Provenance(report=report),
                         preprocess=theirs if theirs and theirs.fit == "none" else None)
    return model


def _filled(build: Callable[[], Convnet], fill: Callable[[Convnet], Report]) -> tuple[Convnet, Report]:
    """The network with its weights: initialised only where they lack some of its tensors."""
    model = blank(build)
    report = fill(model)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        model = build()
        report = fill(model)
    return model, report


def imagenet() -> tuple[str, ...]:
    """The names of ImageNet's thousand classes, as torchvision's weights carry them."""
    from torchvision.models import get_model_weights

    return tuple(next(iter(get_model_weights("resnet18"))).meta["categories"])


def convert_weights(source: str | Path, target: str | Path, to: Literal["torchvision", "timm", "convatlas"],
                    name: str | None = None, *, download: bool = False) -> Path:
    """Write weights under the names of another library, as .safetensors or, if `target` ends so, .pth: its own code
    then loads them.

    The library must be installed, for its network says what the tensors are called. Raises ConvatlasError where it has
    none.
    """
    model, path = load(source, name, download=download), Path(target).expanduser()
    if path.suffix not in (".safetensors", ".pth", ".pt") or (to == "convatlas" and path.suffix != ".safetensors"):
        kinds = ".safetensors" if to == "convatlas" else ".safetensors or .pth"
        raise ConvatlasError(f"cannot write {str(path)!r}: the file's name must end in {kinds}")
    if to == "convatlas":
        return save(model, path)
    family = registry.variant(model.name).family
    spec, choices = registry.plain(model.spec), weights.peers_of(family, to) if to in weights.libraries(family) else ()
    peer = next((peer for peer in choices
                 if peer.ours == model.name and all(spec[k] == v for k, v in peer.fields.items())), None)
    if peer is None:
        others = ", ".join(f"{peer.ours} with {dict(peer.fields)}" for peer in choices if peer.ours == model.name)
        raise ConvatlasError(f"{to} has no network that is {model.name} as it is built here"
                             + (f" (only {others})" if others else ""))
    if model.card.folded is not None:
        raise ConvatlasError(f"{str(source)!r} is folded, and {to}'s {peer.name} is not: convert the weights from "
                             "before folding")
    with torch.device("meta"):
        theirs = _peer(peer, model).state_dict()
    tensors = weights.exported(model, peer, theirs, weights.rules_of(family, to, peer.name))
    with whole_write(path, errors=(OSError, SafetensorError)) as beside:
        save_file(tensors, beside) if path.suffix == ".safetensors" else torch.save(tensors, beside)
    return path


def _peer(peer: weights.Peer, model: Convnet) -> nn.Module:
    """The other library's network, with as many classes and channels."""
    if peer.library == "timm":
        try:
            from timm import create_model as make
        except ImportError as error:
            raise ConvatlasError("writing timm's names needs timm: pip install timm") from error
        built: nn.Module = make(peer.name, num_classes=model.num_classes, in_chans=model.in_chans, **peer.kwargs)
        return built
    from torchvision.models import get_model

    if model.in_chans != 3:
        raise ConvatlasError(f"torchvision's networks take 3 channels, and this one {model.in_chans}")
    made: nn.Module = get_model(peer.name, weights=None, num_classes=model.num_classes, **peer.kwargs)
    return made


def save(model: Convnet, path: str | Path) -> Path:
    """Write the network as one .safetensors file that `load` reads: its card and its tensors.

    A folded network stays folded. What was measured when its weights were loaded is left out: they may have changed
    since. Only networks that the registry knows can be written: others are a ConvatlasError.
    """
    target = Path(path).expanduser()
    weights.save(target, model.state_dict(), replace(model.card, provenance=Provenance()))
    return target
