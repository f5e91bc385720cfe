"""A network's tensors among all else that trainers write into a file: averages, optimizers, metrics, counters, queues.

What is seen through is told. Of a network and its average the average is taken, which is what its run was judged by, if
it has the same tensors (an average of the parameters alone, or a teacher of another kind, has not); of MoCo's two
encoders the one that learns, of a student and a teacher alike the teacher. Whatever else may be meant is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConvatlasError

AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "model_ema_state_dict",
            "ema_model_state_dict", "ema", "params_ema", "shadow", "averaged_model", "avg_model", "swa_model",
            "swa_state_dict", "teacher", "teacher_model", "teacher_state_dict")
TRAINED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "net_state_dict", "weights",
           "params", "module", "student", "student_model", "student_state_dict", "encoder_q", "base_encoder", "online",
           "online_model", "online_net", "online_network", "online_encoder", "online_network_state_dict", "backbone",
           "encoder")
# averages that their methods throw away
COPIES = ("encoder_k", "momentum_encoder", "key_encoder", "target_net", "target_network", "target_encoder", "target",
          "target_network_state_dict", "backbone_momentum")
PREFIXES = ("module.", "model.", "net.", "backbone.", "encoder.", "network.")     # that all names may share
ANYWHERE = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
COUNTERS = ("total_ops", "total_params", "n_averaged", "initted", "num_updates")
LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BESIDE = re.compile(r"(^|_)(opt\w*|sched\w*|\w*scaler|amp|criteri\w*|loss\w*|metrics?|acc|accuracy|rng\w*|random\w*|"
                    r"callbacks?|loops|hparams|args|cfg|config|queue\w*|projector|projection\w*|predictor|"
                    r"prediction\w*|prototypes?)(_|$)")
DEPTH, MOST = 5, 4096       # levels of wrappers, and things on one of them


@dataclass(frozen=True)
class State:
    """A state dict in a tree."""

    path: tuple[str, ...]
    tensors: Mapping[str, Tensor]

    @property
    def said(self) -> str:
        """Its place, in words."""
        return repr(".".join(self.path)) if self.path else "its top"


def unwrapped(tree: Any, where: str) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """(tensors by name, plain values beside them, sentences on what was seen through); ConvatlasError where there are
    none, or where several networks may be meant.
    """
    found = list(_states(tree, ()))
    if not found and isinstance(tree, Mapping):        # of names that tell of no layers
        own = _tensors(tree)
        found = [State((), own)] if any(tensor.is_floating_point() for tensor in own.values()) else []
    if not found:
        what = (f"it has {', '.join(map(str, list(tree)[:8])) or 'nothing'}" if isinstance(tree, Mapping)
                else f"it is of type {type(tree).__name__}")
        raise ConvatlasError(f"{where} holds no tensors by name; {what}: save a state_dict()")
    chosen, notes = _chosen({each.path: each.tensors for each in found}, where)
    meta, beside, level = dict[str, Any](), list[str](), tree
    for key in chosen:
        if isinstance(level, Mapping):
            meta |= {str(name): value for name, value in level.items() if isinstance(value, str | int | float)}
            beside += [str(name) for name, value in level.items()
                       if str(name) != key and isinstance(value, Tensor | np.ndarray)]
        level = level[key if isinstance(level, Mapping) else int(key)]
    tensors, more = _inner(next(each.tensors for each in found if each.path == chosen), where)
    if beside:
        notes.append(f"beside them lie {_few(beside)}, which are not the network's")
    return tensors, meta, [*notes, *more]


def _states(tree: Any, path: tuple[str, ...]) -> Iterator[State]:
    """Every mapping that holds tensors by their names, in what may hold a network."""
    if len(path) > DEPTH or not isinstance(tree, Mapping | list | tuple) or (path and len(tree) > 8 * MOST):
        return
    items = list(tree.items() if isinstance(tree, Mapping) else enumerate(tree[:MOST]))
    own = _tensors(tree) if isinstance(tree, Mapping) else {}
    if any("." in key or "/" in key or key in LEAVES for key in own):
        yield State(path, own)
    for key, value in items:
        if not BESIDE.search(str(key).lower()[:64]) and isinstance(key, str | int):
            yield from _states(value, (*path, str(key)))


def _tensors(tree: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: each for key, value in tree.items() if isinstance(key, str) and (each := _tensor(value)) is not None}


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    return value.detach() if isinstance(value, Tensor) else None


def _chosen(found: Mapping[Any, Mapping[str, Tensor]], where: str) -> tuple[Any, list[str]]:
    """The key of the network among several states, and a sentence on the choice; keys are paths or first parts of
    names.
    """
    def said(key: Any) -> str:
        return repr(".".join(key)) if isinstance(key, tuple) and key else "its top" if key == () else repr(key)

    def role(key: Any) -> str:
        words = [word.lower() for word in (key if isinstance(key, tuple) else (key,))]
        return next((name for name, table in (("average", AVERAGES), ("copy", COPIES), ("trained", TRAINED))
                     if any(word in table for word in words)), "")

    if len(found) == 1:
        key = next(iter(found))
        return key, [f"its tensors are those under {said(key)}"] if key else []
    roles = {key: role(key) for key in found}
    trained, averages = ([key for key in found if roles[key] == name] for name in ("trained", "average"))
    if "" in roles.values() or len(trained) > 1 or len(averages) > 1 or not trained + averages:
        raise ConvatlasError(f"{where} holds several networks, under {' and '.join(map(said, found))}: which is meant "
                             "cannot be told; save the one that is, or give it to load_weights as a state dict")
    one = (averages or trained)[0]
    told = ""
    if trained and averages and _shapes(found[trained[0]]) != _shapes(found[averages[0]]):
        one, told = trained[0], ", which has not the same tensors"
    others = ", ".join(said(key) for key in found if key != one)
    return one, [f"its tensors are those under {said(one)} (not those under {others}{told})"]


def _shapes(tensors: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Names without what wraps them, and shapes; counters aside."""
    plain, _ = _plain(tensors)
    return {(name, tuple(tensor.shape)) for name, tensor in plain.items()}


def _inner(tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], list[str]]:
    """The network's own among tensors of one state dict, under its own names, and what was seen through."""
    found, notes = _plain(tensors)
    while True:
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in found.items():
            groups.setdefault(name.partition(".")[0] if "." in name else "", {})[name.partition(".")[2]] = tensor
        mains = {key: group for key, group in groups.items() if key in (*AVERAGES, *COPIES, *TRAINED)}
        rest = {key: group for key, group in groups.items() if key not in mains}
        if {*groups} == {"backbone", "head"} and all(name.startswith("fc.") for name in groups["head"]):
            notes.append("the prefixes 'backbone.' and 'head.' were taken off")     # OpenMMLab's classifiers
            return groups["backbone"] | groups["head"], notes
        if not mains or (not rest and len(mains) == 1):
            break
        if not all(_beside(key, group, mains) for key, group in rest.items()):
            break
        one, told = _chosen(mains, where)
        notes += told
        if rest:
            beside = [key or next(iter(rest[key])) for key in rest]
            notes.append(f"left out is what lies beside the network: {_few(beside)}")
        found, more = _plain(mains[one])
        notes += more
    return found, notes


def _beside(key: str, group: Mapping[str, Tensor], mains: Mapping[str, object]) -> bool:
    """True for what trainers keep beside a network: losses, metrics, queues; behind a backbone also another head."""
    if BESIDE.search(key.lower()[:64]) or (key == "head" and "backbone" in mains):
        return True
    layers = {name.rpartition(".")[2] for name in group}
    return not (layers & {"running_mean"} or {"weight", "bias"} <= layers
                or any(tensor.is_floating_point() and tensor.ndim > 1 for tensor in group.values()))


def _plain(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Without wrappers in the names, counters, and single numbers that bear no layer's name."""
    found, notes, before = dict(tensors), list[str](), -1
    while len(notes) > before:      # a prefix may hide counters, and counters a prefix
        before = len(notes)
        left = [name for name, tensor in found.items() if name.rpartition(".")[2] in COUNTERS or (
            "." not in name and name not in LEAVES
            and (tensor.numel() <= 1 or tensor.dtype == torch.uint8 or BESIDE.search(name.lower()[:64])))]
        if left and len(left) < len(found):
            notes.append(f"{_few(left)} beside the network's tensors, {'are' if len(left) > 1 else 'is'} left out")
            found = {name: tensor for name, tensor in found.items() if name not in {*left}}
        short = {ANYWHERE.sub("", name): tensor for name, tensor in found.items()}
        if len(short) == len(found) and short.keys() != found.keys():
            notes.append("what torch.compile and the like put into names ('_orig_mod.' …) was taken out")
            found = short
        prefix = next((each for each in PREFIXES if found and all(name.startswith(each) for name in found)), None)
        if prefix:
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
            notes.append(f"the prefix {prefix!r} was taken off every name")
    return found, notes


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
