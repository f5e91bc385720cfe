"""`import convatlas.timm` registers every network here with timm, as `convatlas_<name>`: what builds networks by timm's
names gets ours.

    import timm, convatlas.timm
    timm.create_model("convatlas_resnet50", num_classes=10)
    timm.create_model("convatlas_vgg16", features_only=True, out_indices=(1, 2, 3))

segmentation_models.pytorch takes them as encoders (`tu-convatlas_resnet34`), dilated ones too (`output_stride`), fastai
as backbones. `pretrained=True` is refused, for it names no weights: give `weights=` as to `convatlas.create_model`.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from .. import zoo
from ..errors import ConvatlasError
from ..net.model import Features, pair

try:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.models import FeatureInfo, register_model
except ImportError as _error:
    raise ConvatlasError("convatlas.timm needs timm: pip install timm") from _error

PREFIX = "convatlas_"
__all__ = ["PREFIX"]
_log = logging.getLogger("convatlas")
IGNORED = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable", "exportable", "no_jit")


def _entry(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, *, features_only: bool = False, out_indices: Sequence[int] | None = None,
              weights: str | None = None, **given: Any) -> nn.Module:
        if pretrained:
            raise ConvatlasError(f"pretrained=True names no weights for {PREFIX}{name}: give weights=, such as "
                                 "'timm/resnet50.a1_in1k' or a file (`convatlas list --pretrained`)")
        fields = {key: value for key, value in given.items() if key not in IGNORED}
        if fields.get("output_stride") == 32:       # what every network has that takes no other
            del fields["output_stride"]
        create: Callable[..., Any] = zoo.create_model
        made: nn.Module = create(name, weights, features_only=features_only, out_indices=out_indices, **fields)
        if isinstance(made, Features):
            made.feature_info = FeatureInfo([dict(each) for each in made.feature_info],     # type: ignore[assignment]
                                            tuple(range(len(made.feature_info))))
        made.pretrained_cfg = made.default_cfg = _config(made)      # type: ignore[assignment]
        return made

    build.__name__ = build.__qualname__ = PREFIX + name
    build.__doc__ = f"convatlas's {name}."
    return build


def _config(made: Any) -> dict[str, Any]:
    """The record in which timm looks for a network's input, its first and its last layer."""
    card, whole, layers = made.card, not isinstance(made, Features), made.named_modules()
    channels, known = card.spec.in_chans, card.preprocess
    if known is not None and known.fit != "none":
        _log.warning("the pictures of this %s are prepared by what was measured on its training images, which timm's "
                     "transforms do not know: use convatlas.transforms(model)", card.model)
    if known is None and card.foreign:
        _log.warning("nobody knows how the pictures of this %s were prepared: timm's transforms take ImageNet's mean "
                     "and deviation, which may be wrong", card.model)
    usual = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) if channels == 3 else ((0.5,) * channels,) * 2
    return {"architecture": PREFIX + card.model, "num_classes": made.num_classes if whole else 0,
            "input_size": (channels, *pair(card.spec.image_size)),
            "mean": (known and known.mean) or usual[0], "std": (known and known.std) or usual[1],
            **({} if known is None else {"crop_pct": known.crop_pct, "interpolation": known.interpolation}),
            "first_conv": next((layer for layer, each in layers if isinstance(each, nn.Conv2d)), ""),
            "classifier": "head.classifier" if whole else ""}


for _name in zoo.list_models():
    register_model(_entry(_name))
