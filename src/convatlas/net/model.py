"""Convnet: the one forward and the one contract that every classifier here shares (timm's names)."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, TypedDict, TypeVar, cast, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import ConvatlasError
from ..parts import GlobalPool, PoolKind, ShapesOnly
from ..parts.recompute import recomputed
from .card import Card, Values
from .meta import blank

T = TypeVar("T")


class Spec(Values, Protocol):
    """A specification, which builds its network; most have `drop_rate` and more. Frozen, and so a key."""

    def __hash__(self) -> int: ...

    def build(self) -> "Convnet":
        """The network, newly initialised as its paper says."""
        ...


class FeatureInfo(TypedDict):
    """One entry of `feature_info`: channels, how much smaller than the input, and the module that gives the map."""

    num_chs: int
    reduction: int
    module: str


class Head(nn.Module):
    """hidden → classifier → output: from the trunk's last map to scores (N, classes).

    `hidden` ends in a vector of `width`; `classifier(width, classes)` makes the layer that `reset` replaces; `output`
    is what follows it (LeCun's squashing function). Without classes the head returns the hidden vector.
    """

    def __init__(self, hidden: nn.Module, width: int, num_classes: int,
                 classifier: Callable[[int, int], nn.Module] = nn.Linear, output: nn.Module | None = None) -> None:
        super().__init__()
        self.hidden, self.width, self.make = hidden, width, classifier
        self.classifier: nn.Module = nn.Identity()
        self.output: nn.Module = nn.Identity() if output is None else output
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        """A new classifier, or none for 0 classes."""
        self.num_classes = num_classes
        self.classifier = self.make(self.width, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, C, H, W) → (N, classes), or (N, width) with `pre_logits`."""
        x = self.hidden(x)
        return x if pre_logits or not self.num_classes else self.output(self.classifier(x))


def pooled(width: int, num_classes: int, *, pool: PoolKind = "avg", drop_rate: float = 0.0,
           classifier: Callable[[int, int], nn.Module] = nn.Linear, before: Mapping[str, nn.Module] | None = None,
           after: Mapping[str, nn.Module] | None = None, after_width: int | None = None) -> Head:
    """The head of most networks: (`before` →) global pooling (→ `after`) → dropout → classifier, each layer named.

    `before` maps (N, C, H, W), `after` (N, C) to `after_width` (default: as many as pooling gives); pooling gets
    `width` channels.
    """
    _no_map_to_classify(pool, num_classes)
    globally = GlobalPool(pool)
    hidden: OrderedDict[str, nn.Module] = OrderedDict(before or {})
    hidden["pool"] = globally
    hidden.update(after or {})
    hidden["drop"] = nn.Dropout(drop_rate)
    return Head(nn.Sequential(hidden), after_width or globally.width(width), num_classes, classifier)


class AuxHead(Head):
    """A side classifier that training adds and that predictions never use (Szegedy et al. 2015): reads the map after
    stage `at`.
    """

    def __init__(self, at: int, hidden: nn.Module, width: int, num_classes: int,
                 classifier: Callable[[int, int], nn.Module] = nn.Linear) -> None:
        super().__init__(hidden, width, num_classes, classifier)
        self.at = at


class Convnet(nn.Module):
    """stem → stages → head. Input (N, in_chans, H, W), output (N, num_classes): scores, higher is better.

    A stage begins with its own reduction, so that the stem's and the stages' results are the last maps at their
    resolution; `features` leaves out those that the next stage does not reduce. `card` says what it is and knows.
    `aux` are named side classifiers, which `forward` never runs; a loss weighs each of their losses by `aux_weight`.
    """

    def __init__(self, spec: Spec, stem: nn.Module | None, stages: Sequence[nn.Module], head: Head, *,
                 aux: Mapping[str, AuxHead] | None = None, aux_weight: float = 0.0) -> None:
        super().__init__()
        self.card = Card(type(spec).__name__, spec)
        self.stem = nn.Identity() if stem is None else stem
        self.stages, self.head = nn.ModuleList(stages), head
        self.aux, self.aux_weight = nn.ModuleDict(dict(aux or {})), aux_weight
        self.grad_checkpointing = False

    @property
    def name(self) -> str:
        """The registered name."""
        return self.card.model

    def _in_card(self) -> None:
        """The getter of attributes of old, now parts of `card`: setting one is an error, not without effect."""
        raise AttributeError

    classes, preprocess, fitted, loaded, folded, scores = map(property, [_in_card] * 6)

    @property
    def spec(self) -> Values:
        """The value it was built from."""
        return self.card.spec

    @property
    def num_classes(self) -> int:
        """Scores per image; 0 means no classifier."""
        return self.spec.num_classes

    @property
    def in_chans(self) -> int:
        """Channels of the input."""
        return self.spec.in_chans

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) the network was made for."""
        return pair(self.spec.image_size)

    @property
    def head_hidden_size(self) -> int:
        """Width of what the classifier reads."""
        return self.head.width

    @cached_property
    def num_features(self) -> int:
        """Channels of `forward_features`."""
        return self.taps[-1][2] if self.stages else self.in_chans

    @cached_property
    def feature_info(self) -> list[FeatureInfo]:
        """The maps that `features` returns, one by one."""
        return [FeatureInfo(num_chs=chs, reduction=red, module=name) for _, name, chs, red in self.taps]

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) from images (N, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_aux(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward`'s scores, and those of every side classifier by its name, from one pass through the trunk."""
        maps = self._explained(lambda image: list(self._maps(image)), x)
        sides = {name: cast(AuxHead, head)(maps[cast(AuxHead, head).at + 1]) for name, head in self.aux.items()}
        return self.forward_head(maps[-1]), sides

    def forward_features(self, x: Tensor) -> Tensor:
        """The trunk's last map, (N, num_features, H', W')."""
        return self._explained(self._trunk, x)

    def forward_intermediates(self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = "NCHW", intermediates_only: bool = False,
                              ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """(the trunk's last map, chosen maps of `features`), or with `intermediates_only` the chosen maps alone.

        `indices` are positions in `feature_info`, or the number of the last maps; None: all. `norm` normalises the last
        map as a pre-activated network's head does before it pools; others have no such layer. `stop_early` runs no
        stage that no chosen map needs; the first result is then the map it stopped at. timm's method.
        """
        if output_fmt != "NCHW":
            raise ConvatlasError(f"output_fmt = {output_fmt!r} is refused: maps are 'NCHW' here")
        count = len(self.taps)
        if isinstance(indices, int):
            if not 0 < indices <= count:
                raise ConvatlasError(f"indices = {indices} is refused: {self.name} has {count} maps, and a number "
                                     f"chooses the last 1 to {count} of them")
            indices = range(count - indices, count)
        chosen = chosen_taps(self, indices, "indices")
        at = {self.taps[i][0] for i in chosen}

        def run(image: Tensor) -> tuple[Tensor, list[Tensor]]:
            maps: list[Tensor] = []
            for i, x in enumerate(self._maps(image)):
                maps += [x] if i in at else []
                if stop_early and i == max(at):
                    break
            return x, maps

        last, maps = self._explained(run, x)
        before = dict(list(self.head.hidden.named_children())[:1])
        if norm and "norm" in before and count - 1 in chosen:
            maps[-1] = before["norm"](maps[-1])
        return maps if intermediates_only else (last, maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Scores from `forward_features`' map, or with `pre_logits` the vector before the classifier."""
        scores: Tensor = self.head(x, pre_logits)
        return scores

    def features(self, x: Tensor) -> list[Tensor]:
        """The last map at each resolution before it is reduced, from large to small."""
        maps = self._explained(lambda image: list(self._maps(image)), x)
        return [maps[i] for i, *_ in self.taps]

    def get_classifier(self) -> nn.Module:
        """The layer that gives the scores; nn.Identity where there are no classes."""
        return self.head.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a newly initialised one for `num_classes`; 0 takes it away.

        `global_pool` replaces the pooling before it as well ("", timm's word, is "none": the map as it is); what else
        the head has keeps its weights. Another number leaves no class names.
        """
        if num_classes < 0:
            raise ConvatlasError(f"num_classes = {num_classes} is refused: it must be 0 (no classifier) or more")
        like, spec = next(self.parameters()), replace(self.spec, num_classes=num_classes)
        if global_pool is None:
            _no_map_to_classify(getattr(spec, "global_pool", ""), num_classes)
            self.head.reset(num_classes)
        else:
            spec = self._pooled_by(spec, global_pool or "none")
        for head in self.aux.values():
            cast(AuxHead, head).reset(num_classes)
        self.to(like.device, like.dtype)
        for new in (self.head, self.aux):
            new.train(self.training)
        classes = self.card.classes if num_classes == self.num_classes else ()
        self.card = replace(self.card, spec=spec, classes=classes)

    def _pooled_by(self, spec: Values, kind: str) -> Values:
        """`spec` with that global pooling, after the head has been replaced by the one it builds."""
        if kind not in get_args(PoolKind):
            raise ConvatlasError(f"global_pool = {kind!r} is refused: it is '' (or 'none'), 'avg', 'max', 'avgmax' or "
                                 "'catavgmax'")
        if "global_pool" not in {field.name for field in fields(spec)}:
            raise ConvatlasError(f"global_pool = {kind!r} is refused: {self.name} has no global pooling that could be "
                                 "replaced; forward_features gives the map before its head")
        if self.card.folded:
            raise ConvatlasError(f"global_pool = {kind!r} is refused: this {self.name} is folded; replace the pooling "
                                 "first, then fold")
        _no_map_to_classify(kind, spec.num_classes)
        spec, like = replace(spec, global_pool=kind), next(self.parameters())
        new = cast(Spec, spec).build().head.to(like.device, like.dtype)
        made = dict(new.hidden.named_children())
        for name, old in self.head.hidden.named_children():
            if name in made and _shapes(made[name]) == _shapes(old):
                made[name].load_state_dict(old.state_dict())
                for ours, theirs in zip(made[name].parameters(), old.parameters(), strict=True):
                    ours.requires_grad_(theirs.requires_grad)
        self.head = new
        return spec

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Patterns of parameters' names by depth, for timm's layer-wise rates: the stem, each stage (or block), the
        rest.
        """
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else [
            (r"^stages\.(\d+)(?:\.blocks|\.layers)?\.(\d+)", None), (r"^stages\.(\d+)", (0,))]}

    def no_weight_decay(self) -> set[str]:
        """Biases of more than one dimension (a LeCun network's, one per unit), which timm would take for weights."""
        return {name for name, each in self.named_parameters() if name.endswith("bias") and each.ndim > 1}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each stage in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def check_image_size(self, size: tuple[int, int] | None = None) -> None:
        """A ConvatlasError that names the least size, if an image of (height, width), or of its own size, is too small.
        """
        reason = self._too_small(size or self.image_size)
        if reason is not None:
            raise ConvatlasError(reason)

    def check_images(self, x: Tensor) -> None:
        """A ConvatlasError in `forward`'s words, if the shape or the type of `x` is not of images that it takes."""
        reason = self._reason(x)
        if reason is not None:
            raise ConvatlasError(reason)

    # -- the trunk -------------------------------------------------------------------------------------------------

    def _maps(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        yield x
        for stage in self.stages:
            recompute = self.grad_checkpointing and self.training and torch.is_grad_enabled()
            x = recomputed(stage, x, within=stage) if recompute else stage(x)
            yield x

    def _trunk(self, x: Tensor) -> Tensor:
        for last in self._maps(x):
            x = last
        return x

    @cached_property
    def taps(self) -> list[tuple[int, str, int, int]]:
        """(index among stem and stages, module name, channels, reduction) of each map that `features` returns.

        Where stages dilate instead of striding, these are the maps that it returns where they stride, as in timm.
        """
        names = ["stem", *(f"stages.{i}" for i in range(len(self.stages)))]
        here, reductions = self.shapes(self.image_size), self._reductions()
        whole = reductions
        if getattr(self.spec, "output_stride", 32) != 32:
            spec = cast(Spec, replace(self.spec, output_stride=32))
            whole = blank(spec.build)._reductions()
        last = [i + 1 == len(names) or whole[i] != whole[i + 1] for i in range(len(names))]
        last[0] = last[0] and not isinstance(self.stem, nn.Identity)
        return [(i, names[i], here[i][0], reductions[i]) for i in range(len(names)) if last[i]]

    def _reductions(self) -> list[int]:
        """Reduction of the map after the stem and every stage: how much smaller than the image it is."""
        size, wide = self.image_size, (self.image_size[0] + 64, self.image_size[1] + 64)
        here = self.shapes(size)
        try:            # the stride is what 64 more pixels make of themselves: padding and floors cancel out
            return [round(64 / (b[1] - a[1])) for a, b in zip(here, self.shapes(wide), strict=True)]
        except (RuntimeError, ValueError, ZeroDivisionError):       # a network of one size (biases per unit)
            return [round(size[0] / shape[1]) for shape in here]

    def shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """(channels, height, width) after the stem and every stage, computed on the meta device."""
        return [tuple(x.shape[1:]) for x in dry_run(_Trunk(self), self, size)]

    def _explained(self, run: Callable[[Tensor], T], x: Tensor) -> T:
        """`run(x)`; if that fails, a sentence that says what is wrong with x instead of what broke inside."""
        if not isinstance(x, Tensor) or torch.compiler.is_compiling():
            return run(x)
        if x.ndim != 4:
            raise ConvatlasError(self._reason(x))
        try:
            return run(x)
        except (RuntimeError, ValueError) as error:
            reason = self._reason(x)
            if reason is None:
                raise
            raise ConvatlasError(reason) from error

    def _reason(self, x: Tensor) -> str | None:
        if x.ndim != 4:
            return f"{self.name} takes images as (N, C, H, W), not a tensor of shape {tuple(x.shape)}"
        if x.shape[1] != self.in_chans:
            return (f"{self.name} takes {self.in_chans} channel(s), the input has {x.shape[1]}: "
                    f"build it with in_chans={x.shape[1]} or convert the images (convatlas.transforms does)")
        if not x.is_floating_point():
            return f"{self.name} takes floating-point images, not {x.dtype}: use convatlas.transforms(model)"
        return self._too_small((x.shape[2], x.shape[3]))

    def _too_small(self, size: tuple[int, int]) -> str | None:
        """A sentence, if `size` is what is wrong: other sizes work."""
        if self.accepts(size):
            return None
        roomy = next((big for big in (self.image_size, (1024, 1024)) if self.accepts(big)), None)
        if roomy is None:
            return None
        if not self.accepts((roomy[0] + 64, roomy[1] + 64)):
            return (f"{self.name} takes images of exactly {by(roomy)}, not {by(size)}: "
                    f"resize them, or build it with image_size=({size[0]}, {size[1]})")
        low, high = 0, max(roomy)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.accepts((middle, middle)) else (middle, high)
        return f"an image of {by(size)} is too small for {self.name}: the least is {high}×{high}"

    def accepts(self, size: tuple[int, int]) -> bool:
        """True if images of `size` (H, W) leave no map empty; computed on the meta device."""
        try:
            return all(min(shape) > 0 for shape in self.shapes(size))      # a meta convolution lets an empty map pass
        except (RuntimeError, ValueError):
            return False


class Features(nn.Module):
    """A network without its head that returns chosen maps of `features`, for detectors, decoders and perceptual losses.

    `out_indices` are positions in `feature_info`, negative ones from its end; timm's `features_only=True`.
    Input (N, in_chans, H, W), output a list of (N, C, H', W'), from large to small as chosen.
    """

    def __init__(self, net: Convnet, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.chosen = chosen_taps(net, out_indices, "out_indices")
        self.at = [net.taps[i][0] for i in self.chosen]
        self.feature_info = [net.feature_info[i] for i in self.chosen]
        self.card = net.card
        self.stem, self.stages = net.stem, net.stages[: max(self.at)]

    def channels(self) -> list[int]:
        """Channels of every map returned."""
        return [info["num_chs"] for info in self.feature_info]

    def reduction(self) -> list[int]:
        """Reduction of every map returned: how much smaller than the input it is."""
        return [info["reduction"] for info in self.feature_info]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The chosen maps."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [maps[i] for i in self.at]


def chosen_taps(net: Convnet, wanted: Sequence[int] | None, called: str) -> list[int]:
    """Positions in `net.taps`, in order, of those wanted (None: all); a ConvatlasError for one that is not there."""
    count = len(net.taps)
    chosen = list(range(count)) if wanted is None else list(wanted)
    wrong = [i for i in chosen if not -count <= i < count]
    if wrong or not chosen:
        raise ConvatlasError(f"{called} {wrong or chosen} is refused: {net.name} has maps 0 to {count - 1} "
                             f"(reductions {', '.join(str(tap[3]) for tap in net.taps)})")
    return sorted(range(count)[i] for i in chosen)


def _shapes(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]


def _no_map_to_classify(pool: str, num_classes: int) -> None:
    if pool == "none" and num_classes:
        raise ConvatlasError("global_pool = 'none' leaves a map, which no classifier reads: it goes with num_classes=0")


class _Trunk(nn.Module):
    def __init__(self, net: Convnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.net._maps(x))


def dry_run(outer: nn.Module, model: Convnet, size: tuple[int, int]) -> Any:
    """The result of `outer`, whose `net` is `model`, for images of `size`, on the meta device: right in its shapes
    only.
    """
    with ShapesOnly():
        return functional_call(outer, meta_state(model, "net."), (meta_image(model, size),))


def meta_state(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Every parameter and buffer of `model` as an empty tensor on the meta device, for `functional_call`."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    return {prefix + name: tensor.detach() if tensor.is_meta else torch.empty_like(tensor, device="meta")
            for name, tensor in tensors}


def meta_image(model: Convnet, size: tuple[int, int]) -> Tensor:
    """A batch of two images for `model` on the meta device (two, so that BatchNorm in training takes a 1×1 map)."""
    like = next(model.parameters())
    return torch.empty(2, model.in_chans, *size, device="meta", dtype=like.dtype)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """An image size as (height, width)."""
    return (size, size) if isinstance(size, int) else size


def by(size: tuple[int, int]) -> str:
    """(32, 28) as '32×28'."""
    return f"{size[0]}×{size[1]}"
