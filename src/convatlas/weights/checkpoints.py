"""Weights into networks and out of them: files of ours, of torchvision and timm, and names of public weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import arch, weights
from ..errors import ConvatlasError, some
from ..files import whole_write
from ..net import registry
from ..net.card import Card, Provenance
from ..net.fold import fold, fold_structure
from ..net.meta import blank
from ..net.model import Convnet
from ..net.registry import Variant
from ..net.segmenter import Segmenter
from ..run import Preprocess
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
    by_order: bool = False                  # may tensors of unknown names be paired by their order


def load(path: str | Path, name: str | None = None, fields: Mapping[str, Any] | None = None, *,
         download: bool = False, by_order: bool = False) -> Convnet:
    """A network with weights, in eval mode, from a run folder, a file (.safetensors, .pth, .h5, .npz), or a name of
    weights that come along or are public.

    `lenet5.digits` comes along, with `name` also as `digits`. Public ones are `hf-hub:org/name`,
    `timm/resnet50.a1_in1k` and, with `name`, `torchvision/IMAGENET1K_V2`: they come from the cache, or from the network
    with `download`. `fields` change the specification that the file was trained with:
    other `num_classes` get a new classifier, other `in_chans` an adapted first convolution. The network's `card` has
    its classes, its preprocessing, the loss it was trained with, and in `provenance.report` the account of every
    tensor. Raises ConvatlasError for a file of another network than `name`, and for tensors that do not fit. A `name`
    that segments also begins from the classifier inside it, or from a network of coarser scores. Tensors of names that
    nobody knows are refused, or with `by_order` paired with those of `name` by their order.
    """
    wanted = _variant(name)
    if wanted is not None and wanted.segments:
        return _segmenter(path, wanted, fields or {}, download, by_order).eval()
    return _network(_opened(path, wanted, download, by_order), wanted, fields or {})[0].eval()


def load_weights(model: Convnet, source: Weights, *, download: bool = False, by_order: bool = False) -> Report:
    """Put weights into a network that is there; returns what became of each tensor, and keeps it as
    `model.card.provenance.report`.

    `source` is as in `load`, or a state dict. A file with another number of classes leaves the classifier as it is, and
    another number of channels adapts the first convolution. Weights of a network with other constants (BatchNorm's
    epsilon, TensorFlow's padding) than `model` was built with are a ConvatlasError, as are tensors that do not fit.
    """
    variant = registry.variant(model.name)
    opened = _opened(source, variant, download, by_order)
    spec = registry.plain(model.spec)
    foreign = _recognized(opened, variant, spec) if opened.card is None else None
    folded = foreign.peer.folded if foreign else opened.card is not None and opened.card.folded is not None
    if folded and model.card.folded is None:
        raise ConvatlasError(f"{opened.found.where!r} is folded, which cannot be undone: load it with convatlas.load, "
                             "or fold the network")
    if model.card.folded is not None and not folded:
        whole, report = _network(opened, variant, model.card.fields)
        model.load_state_dict(fold(whole.eval()).state_dict())
        model.card = _with_theirs(model.card, whole.card, _provenance(opened, report))
        return report
    known = foreign or _recognized(opened, variant, spec, model.state_dict())
    for field, value in known.peer.fields.items():
        if spec[field] != value and field not in ("num_classes", "in_chans", "image_size", "drop_rate"):
            what = f"{known.peer.library}'s {known.peer.name}, which computes with {field} = {value!r}"
            raise ConvatlasError(f"{opened.found.where} holds {what}, and this network has {spec[field]!r}: build it "
                                 f"with create_model({variant.name!r}, {field}={value!r})")
    report = weights.load_foreign(model, opened.found, known)
    theirs = opened.card
    if theirs is None:
        theirs, told = _of_others(model, opened, known)
        report = replace(report, notes=(*report.notes, told))
    model.card = _with_theirs(model.card, theirs, _provenance(opened, report))
    return report


def _with_theirs(card: Card, theirs: Card, provenance: Provenance) -> Card:
    """The card of a network that has taken over weights: how pictures are prepared for them, and what a score means."""
    channels = card.spec.in_chans
    named = theirs.classes if len(theirs.classes) == card.spec.num_classes else card.classes
    if theirs.foreign and theirs.preprocess is None:
        return replace(card, foreign=True, classes=named, provenance=provenance)
    return replace(card, preprocess=theirs.preprocess and _for_channels(theirs.preprocess, channels),
                   fitted=theirs.fitted, foreign=theirs.foreign, loss=theirs.loss or card.loss, classes=named,
                   provenance=provenance)


def _of_others(model: Convnet, opened: Opened, known: Recognized) -> tuple[Card, str]:
    """The card of the network that weights of others are loaded into, with all that is known of them; and a sentence on
    how their pictures were prepared.
    """
    way = _prepared(opened, known)
    named = opened.known is not None and model.num_classes == known.num_classes == opened.known.classes == IMAGENET
    preprocess = way.preprocess and _for_channels(way.preprocess, model.in_chans)
    return replace(model.card, preprocess=preprocess, foreign=True, classes=imagenet() if named else (),
                   folded="as loaded" if known.peer.folded else None), way.told


def explain_weights(source: Weights, name: str | None = None, *, download: bool = False,
                    by_order: bool = False) -> Report:
    """Explain a file of weights: whose it is, and what loading would do with each tensor; `name` says which network, or
    all are tried.
    """
    wanted = _variant(name)
    return _network(_opened(source, wanted, download, by_order), wanted, {})[1]


def _variant(name: str | None) -> Variant | None:
    return None if name is None else registry.variant(name)


def _opened(source: Weights, wanted: Variant | None, download: bool, by_order: bool) -> Opened:
    if not isinstance(source, str | Path):
        return Opened(weights.read(source), by_order=by_order)
    name = None if wanted is None else wanted.name
    path = (weights.fetch(source, name, download) if isinstance(source, str) and weights.is_name(source)
            else weights.find(source, name))
    if weights.is_ours(path):
        card = weights.read_card(path)      # first: what it says of itself is clearer than what its tensors lack
        return Opened(weights.of_network(weights.read(path)), card)
    return Opened(weights.read(path), known=weights.of_file(path), by_order=by_order)


def _provenance(opened: Opened, report: Report) -> Provenance:
    return replace(opened.card.provenance if opened.card else Provenance(), report=report)


class Prepared(NamedTuple):
    """The preparation of pictures for weights of others."""

    preprocess: Preprocess | None       # None: not known
    image_size: int | None              # where it is told
    told: str                           # the source


def _prepared(opened: Opened, known: Recognized) -> Prepared:
    """As the file's published name says, else as all releases agree that these tensors may be of.

    A network of other classes was trained by somebody else, and of its pictures nothing is known. Crops may differ
    among releases; the first stands for all.
    """
    releases = [each for peer in known.same for each in peer.releases
                if known.num_classes in (each.classes or (registry.variant(peer.ours).spec.num_classes,))]
    called = [each for each in releases if each.file != "*" and fnmatchcase(Path(opened.found.where).name, each.file)]
    ways = [Prepared(each.preprocess, each.image_size, each.source) for each in called or releases]
    ways += [Prepared(each.preprocess, None, f"{each.id} of {each.ours}")
             for peer in known.same for each in weights.published(peer.library, peer.name, known.num_classes)]
    if opened.known is not None:
        ways = [Prepared(opened.known.preprocess, None, opened.known.id)]
    colors = {way.preprocess.model_dump_json(include={"mean", "std", "fit"}) for way in ways if way.preprocess}
    if len(colors) != 1:
        why = f", for releases of this network differ ({ways[0].told}; {ways[-1].told})" if ways else ""
        return Prepared(None, None, f"how pictures were prepared for them is not known{why}")
    first, crops = ways[0], {way.preprocess and (way.preprocess.crop_pct, way.preprocess.interpolation)
                             for way in ways}
    return first._replace(told=f"pictures are prepared as for {first.told}"
                          + ("; other releases differ in the crop alone" if len(crops) > 1 else ""))


def _for_channels(preprocess: Preprocess, channels: int) -> Preprocess:
    """Of a first convolution that was adapted to another number of channels (`foreign.channels`)."""
    def adapted(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is None or len(values) in (1, channels):
            return values
        return ((sum(values) / len(values),) if channels == 1
                else tuple(values[i % len(values)] for i in range(channels)))

    return preprocess.model_copy(update={"mean": adapted(preprocess.mean), "std": adapted(preprocess.std)})


def _recognized(opened: Opened, wanted: Variant | None, given: Mapping[str, Any],
                places: Mapping[str, Tensor] | None = None) -> Recognized:
    """Whose tensors these are; of our own files, which say so, only that they are `name`'s."""
    card = opened.card
    if card is None:
        named = opened.known.network if opened.known else ""
        return weights.recognize(opened.found, registry.build, ours=wanted.name if wanted else None,
                                 family=wanted.family if wanted else None, given=given, named=named,
                                 by_order=opened.by_order)
    if wanted is not None and wanted.name != card.model:
        raise ConvatlasError(f"{opened.found.where!r} holds a {card.model!r}, not a {wanted.name!r}: ask for "
                             f"create_model({card.model!r}, …)")
    return weights.own_file(opened.found, card.model, card.fields, places)


def _network(opened: Opened, wanted: Variant | None, fields: Mapping[str, Any]) -> tuple[Convnet, Report]:
    """Built for the weights, filled with them, and knowing what they know."""
    card, known = opened.card, _recognized(opened, wanted, fields)
    if known.replaced and "num_classes" not in fields:
        raise ConvatlasError(f"{opened.found.where} holds {known.peer.ours} without its classifier, and weights that "
                             f"have no place in it ({some(known.replaced)}): num_classes=0 takes it without a "
                             "classifier, num_classes=N with a new one")
    size = _prepared(opened, known).image_size
    sized = {"image_size": size} if size else {}
    changed = {**known.peer.fields, **fields} if card else {"num_classes": known.num_classes,
                                                            "in_chans": known.in_chans, **sized, **known.peer.fields,
                                                            **fields}

    def build() -> Convnet:
        made = registry.build(known.peer.ours, changed)
        return fold_structure(made) if known.peer.folded or (card and card.folded) else made

    def fill(model: Convnet) -> Report:
        if card and not fields:
            weights.check_own(opened.found, card, model.state_dict())
        return weights.load_foreign(model, opened.found, _recognized(opened, wanted, fields, model.state_dict())
                                    if card else known)

    model, report = _filled(build, fill)
    own = model.card
    if card is not None:
        own = replace(card, spec=own.spec,
                      preprocess=card.preprocess and _for_channels(card.preprocess, model.in_chans),
                      classes=card.classes if len(card.classes) == model.num_classes else ())
    else:
        own, told = _of_others(model, opened, known)
        bare = "" if known.num_classes else "it holds no classifier"
        report = replace(report, notes=(*report.notes, *filter(None, (bare, told))))
    model.card = replace(own, provenance=_provenance(opened, report))
    return model, report


def _segmenter(source: Weights, wanted: Variant, fields: Mapping[str, Any], download: bool,
               by_order: bool) -> Convnet:
    """A network that segments: from weights of its own, of a coarser one, or of the classifier inside it."""
    empty = blank(lambda: registry.build(wanted.name, fields))
    assert isinstance(empty, Segmenter)
    opened = _opened(source, _variant(empty.encoder) or wanted, download, by_order)
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
    theirs = _of_patches(other.card)
    model.card = replace(model.card, classes=other.card.classes if coarser else (), preprocess=theirs,
                         foreign=theirs is None, provenance=Provenance(report=report))
    return model


def _of_patches(card: Card) -> Preprocess | None:
    """The preprocessing of pictures of any size; what whole pictures gave does not fit patches, and None."""
    theirs = card.preprocess
    if theirs is not None and theirs.fit == "channel":
        numbers = {name: tuple(card.fitted[name].tolist()) for name in ("mean", "std")}
        return theirs.model_copy(update={"fit": "none", **numbers})
    return theirs if theirs is not None and theirs.fit == "none" else None


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
                    name: str | None = None, *, preprocess: Mapping[str, Any] | None = None, download: bool = False,
                    by_order: bool = False) -> Path:
    """Write weights under the names of another library, as .safetensors or, if `target` ends so, .pth: its own code
    then loads them.

    The library must be installed, for its network says what the tensors are called. Our own files also say how pictures
    are prepared, which `preprocess` (`{"mean": …, "std": …}`) changes. Raises ConvatlasError where the library has no
    such network.
    """
    model, path = load(source, name, download=download, by_order=by_order), Path(target).expanduser()
    if preprocess and to != "convatlas":
        raise ConvatlasError(f"files under {to}'s names do not say how pictures are prepared: preprocess.* goes with "
                             "files of convatlas")
    if preprocess:
        model.card = weights.prepared(model.card, preprocess)
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
    with whole_write(path, sync=True, errors=(OSError, SafetensorError)) as beside:
        if path.suffix == ".safetensors":
            save_file(tensors, beside)
        else:
            content = BytesIO()         # torch may abort the process where the disk is full
            torch.save(tensors, content)
            beside.write_bytes(content.getbuffer())
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
