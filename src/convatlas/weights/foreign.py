"""Weights that others trained, in our networks: recognised by their names, renamed, and every tensor accounted for."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net import registry
from ..net.card import Report as Report
from ..net.card import Row as Row
from ..net.fold import fold_structure
from ..net.meta import blank
from ..net.model import Convnet
from . import caffe, tables
from .files import Foreign
from .tables import Peer
from .views import View, views

SYNONYMS = {"gamma": "weight", "kernel": "weight", "beta": "bias", "moving_mean": "running_mean",
            "moving_variance": "running_var"}
BGR = ("blue", "green", "red")
BGR_TURNED = f"it took {', '.join(BGR)}, and takes {', '.join(reversed(BGR))} here"
LARGEST = 8_000         # tensors of a file that is looked into; resnet1202 has 7 000
HEADS = ("fc", "classifier", "head", "linear", "last_linear", "1")      # what a layer behind a network is called
HEAD = 8                # tensors of layers in the classifier's place, at most
BY_ORDER = ("paired by their order, kinds and shapes alone, which tell nothing of constants (epsilon, padding, "
            "strides), of the order of equal shapes, or of the place of activations")
OURS = ("stem", "stages", "head", "aux")        # where our tensors' names begin
Build = Callable[[str, Mapping[str, Any]], nn.Module]       # (name, changed fields) → network


@dataclass(frozen=True)
class Recognized:
    """The network that tensors were recognised as."""

    peer: Peer
    pairs: Mapping[str, str]        # their name → ours
    left: tuple[str, ...]           # of theirs, that have no place
    num_classes: int
    in_chans: int
    others: tuple[Peer, ...]        # networks of the same tensors that compute another function
    missing: int = 0                # of the classifier's tensors, those that the file lacks
    notes: tuple[str, ...] = ()     # how they were recognised, if not by their names as they are
    same: tuple[Peer, ...] = ()     # networks of the same tensors that compute the same, `peer` among them
    by_order: bool = False          # and not by names
    replaced: tuple[str, ...] = ()  # modules with weights that have no place, where the file lacks the classifier
    rules: tuple[tables.Rule, ...] = ()     # of the names that fitted


def recognize(found: Foreign, build: Build, *, ours: str | None = None, family: str | None = None,
              given: Mapping[str, Any] | None = None, named: str = "", by_order: bool = False) -> Recognized:
    """The network that a file's tensors belong to: `ours` of `family` if it is named, else any that has a table.

    Their names are looked up as they are, then without what wrappers put before and between them (`views`). `given` are
    fields that the caller has set; among networks with the same tensors but other constants (BatchNorm's epsilon,
    TensorFlow's padding) they, `named` (what their library calls it), the file's own metadata or its name decide. With
    `by_order` tensors of unknown names are paired with those of `ours` by their order. Raises ConvatlasError where none
    fits, or several do.
    """
    given = given or {}
    if len(found.tensors) > LARGEST:
        raise ConvatlasError(_unknown(found, ours))
    for level in views(found.shapes):
        fits = [(view, best) for view in level
                if (best := _best(found, view, list(_fitting(found.format, view.shapes(found), build, ours, family))))]
        if not fits and ours is not None:
            fits = [(view, [known]) for view in level
                    if (known := _under_our_names(view.shapes(found), build, ours, given))]
        if len(fits) > 1:
            parts = " and ".join(repr(view.part) for view, _ in fits)
            raise ConvatlasError(f"{found.where} holds {fits[0][1][0].peer.ours} {len(fits)} times, under {parts}: say "
                                 "which, by a file of its tensors alone")
        if fits:
            view, best = fits[0]
            chosen = _chosen(found, best, build, {**found.fields, **given}, named)
            return _with_head(_named(chosen, view, found), view, found.shapes)
    if ours is None:
        raise ConvatlasError(_unknown(found, None))
    return _unnamed(found, build, ours, given, by_order)


def _named(known: Recognized, view: View, found: Foreign) -> Recognized:
    """The network recognised in a view, with the names that its tensors have in the file."""
    pairs = {view.names[name]: new for name, new in known.pairs.items()}
    left = tuple(name for name in found.tensors if name not in pairs)
    return replace(known, pairs=pairs, left=left, notes=(*view.notes, *known.notes))


def _best(found: Foreign, view: View, fitting: Sequence[Recognized]) -> list[Recognized]:
    """Those that leave the least; they must be one network of ours."""
    least = min((len(each.left) + each.missing for each in fitting), default=0)
    best = [each for each in fitting if len(each.left) + each.missing == least]
    if len({each.peer.ours for each in best}) > 1:
        names = ", ".join(sorted({each.peer.ours for each in best}))
        raise ConvatlasError(f"{found.where} could be any of {names}: say which, create_model(NAME, weights=…)")
    return best


def _fitting(form: str, theirs: tables.Shapes, build: Build, ours: str | None,
             family: str | None) -> Iterator[Recognized]:
    """The networks that fit. Caffe's tables are for its own files: others took over its names, and other constants."""
    most, sizes = len(theirs) // 20, [math.prod(shape) for shape in theirs.values()]
    few, many = sum(sizes) - max(sizes, default=0), sum(sizes)      # numbers, without the largest tensor and with it
    unlike, built, paired = (dict[int, bool](), dict[str, tables.Shapes](),
                             dict[tuple[str, int], tuple[dict[str, str], list[str]]]())
    for kin, library in tables.every(family):
        for peer in tables.peers(kin, library) if (library == "caffe") == (form == "caffe") else ():
            # its classifier may be another; building hundreds of networks takes long
            params = registry.variant(peer.ours).params
            if peer.ours != ours if ours is not None else not (0.3 * params <= many and few <= 1.5 * params):
                continue
            rules, key = tables.rules(kin, library, peer.name), f"{peer.ours} {dict(peer.fields)} {peer.folded}"
            if id(rules) not in unlike:
                unlike[id(rules)] = tables.strange(theirs, rules, most + HEAD)
            if unlike[id(rules)]:
                continue
            places = built[key] = built.get(key) or _places(build, peer.ours, peer.fields, peer.folded)
            if len(theirs) > len(places) + most + HEAD:
                continue
            if (key, id(rules)) not in paired:      # libraries often agree
                paired[key, id(rules)] = tables.pair(theirs, places, rules)
            pairs, left = paired[key, id(rules)]
            missing = [name for name in places
                       if name not in pairs.values() and not name.endswith("num_batches_tracked")]
            head = {name for name in missing if name.startswith(("head.classifier", "aux."))}
            odd = [name for name, new in pairs.items()
                   if not tables.alike(theirs[name], places[new]) and not _adapts(new, theirs[name], places)]
            if set(missing) <= head and not odd and len(left) <= most + (HEAD if head else 0):
                yield Recognized(peer, pairs, tuple(left), _classes(theirs, pairs), _channels(theirs, pairs, places),
                                 (), len(missing), rules=rules)


def _with_head(known: Recognized, view: View, theirs: tables.Shapes) -> Recognized:
    """The network with what stands in the place of its classifier, if the file lacks that. One linear layer called
    after it, as `fc.1` of (dropout, linear) for `fc`, or behind the network in a sequence, is taken for it.
    """
    if known.num_classes or any(new.startswith("head.classifier") for new in known.pairs.values()):
        return known
    replaced = tuple(dict.fromkeys(name.rpartition(".")[0] for name in known.left if len(theirs[name]) > 1))
    if len(replaced) != 1:
        return replace(known, replaced=replaced)
    name, = replaced
    leaves = {each.rpartition(".")[2]: each for each in known.left if each.rpartition(".")[0] == name}
    short = {was: new for new, was in view.names.items()}.get(leaves["weight"], "") if "weight" in leaves else ""
    called = (any(rule(short.rpartition(".")[0].rpartition(".")[0]) == "head.classifier" for rule in known.rules)
              or name.rpartition(".")[2] in HEADS)
    if not called or len(theirs[leaves["weight"]]) != 2 or not leaves.keys() <= {"weight", "bias"}:
        return replace(known, replaced=replaced)
    return replace(known, pairs={**known.pairs, **{was: f"head.classifier.{leaf}" for leaf, was in leaves.items()}},
                   left=tuple(each for each in known.left if each not in leaves.values()),
                   num_classes=theirs[leaves["weight"]][0],
                   notes=(*known.notes, f"its classifier was replaced: {name!r} is taken for it"))


def _places(build: Build, name: str, fields: Mapping[str, Any], folded: bool = False) -> tables.Shapes:
    def made() -> nn.Module:
        model = build(name, fields)
        return fold_structure(model) if folded and isinstance(model, Convnet) else model

    return {place: tuple(tensor.shape) for place, tensor in blank(made).state_dict().items()}


def _under_our_names(theirs: tables.Shapes, build: Build, ours: str, given: Mapping[str, Any]) -> Recognized | None:
    """Tensors that are called what they are called here, as a network of ours that was saved with torch."""
    if not {name.partition(".")[0] for name in theirs} <= {"stem", "stages", "head", "aux"}:
        return None
    places = _places(build, ours, given)
    pairs = {name: name for name in theirs if name in places}
    missing = [name for name in places if name not in pairs and not name.endswith("num_batches_tracked")
               and not name.startswith(("head.classifier", "aux."))]
    odd = [name for name in pairs if not tables.alike(theirs[name], places[name])
           and not _adapts(name, theirs[name], places)]
    left = tuple(name for name in theirs if name not in pairs)
    if missing or odd or any(not name.startswith(("head.classifier", "aux.")) for name in left):
        return None
    return Recognized(Peer("convatlas", ours, ours), pairs, left, _classes(theirs, pairs),
                      _channels(theirs, pairs, places), ())


def _unnamed(found: Foreign, build: Build, ours: str, given: Mapping[str, Any], by_order: bool) -> Recognized:
    """Tensors that no table knows as those of `ours`: of another network that is known, refused, or `by_order`."""
    for view in itertools.chain.from_iterable(views(found.shapes)):
        for other in _fitting(found.format, view.shapes(found), build, None, None):
            raise ConvatlasError(f"{found.where} does not hold the tensors of {ours}: they are those of "
                                 f"{other.peer.library}'s {other.peer.name}, which is {other.peer.ours} here")
    whole = [level[0] for level in views(found.shapes) if not level[0].part][-1]
    known = _by_order(found.format, whole.shapes(found), build, ours, given)
    if known is None or not by_order:
        hint = f"; they could be {BY_ORDER}: by_order=True (--by-order) does it" if known is not None else ""
        raise ConvatlasError(_unknown(found, ours) + hint)
    return _named(known, whole, found)


def _by_order(form: str, shapes: tables.Shapes, build: Build, ours: str, given: Mapping[str, Any]) -> Recognized | None:
    """Tensors of unknown names as those of `ours`, if each has the kind and the shape of the one at its place there.

    Files of safetensors do not keep the order in which a program made them, so equal shapes could be swapped: they are
    refused. So are Keras's, whose padding and constants go with the names.
    """
    places = {name: shape for name, shape in _places(build, ours, given).items()
              if not name.endswith("num_batches_tracked")}
    theirs = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    if form in ("safetensors", "keras", "caffe") or len(theirs) != len(places):
        return None
    pairs = dict(zip(theirs, places, strict=True))
    for name, new in pairs.items():
        leaf = SYNONYMS.get(name.rpartition(".")[2], name.rpartition(".")[2])
        if leaf != new.rpartition(".")[2] or not (tables.alike(theirs[name], places[new])
                                                  or _adapts(new, theirs[name], places)):
            return None
    return Recognized(Peer("unknown", "network", ours), pairs, (), _classes(theirs, pairs),
                      _channels(theirs, pairs, places), (), notes=(BY_ORDER,), by_order=True)


def _adapts(name: str, theirs: tuple[int, ...], places: tables.Shapes) -> bool:
    """True if a tensor may have another shape: the classifier's with other classes, or the first convolution's weight
    with other channels.
    """
    ours = places[name]
    if name.startswith(("head.classifier.", "aux.")):
        return tables.alike((ours[0], *theirs[1:]), ours)
    return name == _first(places) and len(theirs) == len(ours) and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:])


def _first(places: tables.Shapes) -> str:
    return next((name for name, shape in places.items() if len(shape) == 4), "")


def _classes(theirs: tables.Shapes, pairs: Mapping[str, str]) -> int:
    """The classifier's outputs: a layer's, or those of a segmenter's several, which all have as many."""
    return next((theirs[name][0] for name, new in pairs.items()
                 if new.startswith("head.classifier.") and new.endswith(".weight")), 0)


def _channels(theirs: tables.Shapes, pairs: Mapping[str, str], places: tables.Shapes) -> int:
    return next((theirs[name][1] for name, new in pairs.items() if new == _first(places)), places[_first(places)][1])


def _chosen(found: Foreign, best: list[Recognized], build: Build, given: Mapping[str, Any], named: str) -> Recognized:
    """One of several whose tensors are alike but that compute different things."""
    kinds: dict[str, Recognized] = {}
    for each in best:
        kinds.setdefault(repr(sorted(each.peer.fields.items())), each)
    if len(kinds) == 1:
        return replace(best[0], same=tuple(each.peer for each in best))
    asked = {key: given[key] for each in best for key in each.peer.fields if key in given}
    agree = [each for each in kinds.values() if asked and _has(each.peer, asked, build)]
    words = (named, found.meta.get("arch"), found.meta.get("architecture"), found.where.rpartition("/")[2])
    said = " ".join(str(word).lower() for word in words)
    told = sorted((each for each in best if each.peer.name.lower() in said), key=lambda each: -len(each.peer.name))
    one = agree[0] if len(agree) == 1 else next(iter(told), None)
    if one is None:
        options = "; ".join(f"{each.peer.library}'s {each.peer.name} ({_fields(each.peer)})" for each in kinds.values())
        raise ConvatlasError(f"{found.where} has the tensors of several networks that compute different things: "
                             f"{options}. Give these fields to create_model, or name the file after the network")
    return replace(one, others=tuple(each.peer for each in kinds.values() if each.peer.fields != one.peer.fields),
                   same=tuple(each.peer for each in best if each.peer.fields == one.peer.fields))


def _has(peer: Peer, asked: Mapping[str, Any], build: Build) -> bool:
    spec = blank(lambda: build(peer.ours, peer.fields)).spec
    return all(getattr(spec, key) == value for key, value in asked.items())


def _fields(peer: Peer) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in peer.fields.items()) or "as ours"


def _unknown(found: Foreign, ours: str | None) -> str:
    names = list(found.tensors)
    what = f"the tensors of {ours}" if ours else "a network that is known here"
    own = ours is None and all(name.partition(".")[0] in OURS for name in names)
    return (f"{found.where} does not hold {what} under names that are known; it has {len(names)} "
            f"tensors, {', '.join(names[:3])} …; " + ("if it is the state dict of one of ours, which does not say of "
            "which, name that with --model or create_model(NAME, weights=…)" if own else
            "`convatlas weights explain FILE` looks among all networks"))


def own(found: Foreign, model: str, fields: Mapping[str, Any], places: Mapping[str, Tensor] | None) -> Recognized:
    """Our own file's tensors, which are called what they are called in `places`, the network's own."""
    pairs = {name: name for name in found.tensors}
    if places is not None:
        head = ("head.classifier.", "aux.")
        lost = [f"{name} is missing" for name in places if name not in pairs and not name.startswith(head)]
        lost += [f"{name} is not in the network" for name in pairs if name not in places and not name.startswith(head)]
        if lost:
            more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
            raise ConvatlasError(f"{found.where!r} holds another network ({model!r}): {'; '.join(lost[:3])}{more}")
        pairs = {name: name for name in pairs if name in places}
    left = tuple(name for name in found.tensors if name not in pairs)
    return Recognized(Peer("convatlas", model, model, fields), pairs, left, 0, 0, ())


def load(model: nn.Module, found: Foreign, known: Recognized) -> Report:
    """Put the tensors into `model`, the network that they were recognised as, with as many classes and channels as it
    has.

    Another number of classes leaves the classifier newly initialised; another number of channels sums the first
    convolution's kernels (to one), or repeats them in turn, scaled to keep the sum. Raises ConvatlasError where a
    tensor does not fit.
    """
    if found.layers:
        caffe.check(found.where, found.layers, model, known.pairs)
    places, rows, state = model.state_dict(), list[Row](), dict[str, Tensor]()
    first = _first({name: tuple(tensor.shape) for name, tensor in places.items()})
    theirs = {new: name for name, new in known.pairs.items()}
    for name, place in places.items():
        if name not in theirs:
            if name.endswith("num_batches_tracked"):
                state[name] = torch.zeros((), dtype=place.dtype)
            else:
                rows.append(Row(name, "", "kept", "the file has no such tensor; it is newly initialised"))
            continue
        tensor, origin = found.tensors[theirs[name]], theirs[name]
        turned = name == first and known.peer.bgr and tensor.shape[1] == len(BGR)
        if turned:
            tensor = tensor.flip(1)
            rows.append(Row(name, origin, "adapted", BGR_TURNED))
        if tuple(tensor.shape) == tuple(place.shape):
            rows += [] if turned else [Row(name, origin, "loaded")]
        elif tables.alike(tuple(tensor.shape), tuple(place.shape)):
            tensor = tensor.reshape(place.shape)
            rows.append(Row(name, origin, "reshaped", f"{_by(found.tensors[origin])} as {_by(place)}"))
        elif name == first:
            rows.append(Row(name, origin, "adapted", f"from {tensor.shape[1]} to {place.shape[1]} channels"))
            tensor = channels(tensor, place.shape[1])
        elif name.startswith(("head.classifier.", "aux.")):
            why = f"the file has {tensor.shape[0]} classes, the network {place.shape[0]}; it is newly initialised"
            rows.append(Row(name, origin, "kept", why))
            continue
        else:
            raise ConvatlasError(f"{found.where}: {origin!r} is {_by(tensor)}, and {name!r} of {known.peer.ours} is "
                                 f"{_by(place)}")
        state[name] = tensor.to(place.dtype)
    rows += [Row("", name, "left out", "the network has no place for it") for name in known.left]
    model.load_state_dict(state, strict=False, assign=any(place.is_meta for place in places.values()))
    notes = [*found.notes, *known.notes]
    if known.others:
        notes.append(f"taken for {known.peer.library}'s {known.peer.name}; the same tensors are also those of "
                     + ", ".join(f"{other.library}'s {other.name} ({_fields(other)})" for other in known.others))
    source = "of unknown origin" if known.by_order else f"{known.peer.library}'s {known.peer.name}"
    return Report(found.where, known.peer.ours, source, tuple(rows), tuple(notes))


def channels(kernel: Tensor, wanted: int) -> Tensor:
    """A first convolution's weight (cout, cin, kh, kw) for `wanted` channels: summed to one, else repeated in turn
    times cin / wanted.
    """
    cin = kernel.shape[1]
    if wanted == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeated = kernel.repeat(1, -(-wanted // cin), 1, 1)[:, :wanted]
    return repeated * (cin / wanted)


def _by(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def exported(model: nn.Module, peer: Peer, theirs: Mapping[str, Tensor],
             rules: tuple[tables.Rule, ...]) -> dict[str, Tensor]:
    """`model`'s tensors under the names, and in the shapes, of `theirs`: the state dict of the peer's own network."""
    state = model.state_dict()
    their_shapes, our_shapes = ({name: tuple(tensor.shape) for name, tensor in tensors.items()}
                                for tensors in (theirs, state))
    pairs, left = tables.pair(their_shapes, our_shapes, rules)
    unused = [name for name in state if name not in pairs.values() and not name.endswith("num_batches_tracked")]
    if unused or [name for name in left if not name.endswith("num_batches_tracked")]:
        raise ConvatlasError(f"{peer.library}'s {peer.name} has no place for {(unused or left)[0]!r}")
    return {name: state[new].reshape(theirs[name].shape).clone() for name, new in pairs.items()}
