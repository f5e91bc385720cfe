"""`import convatlas.timm` registers every network here with timm, as `convatlas_<name>`: what builds networks by timm's
names gets ours.

    import timm, convatlas.timm
    timm.create_model("convatlas_resnet50", num_classes=10)
    timm.create_model("convatlas_vgg16", features_only=True, out_indices=(1, 2, 3))

segmentation_models.pytorch takes them as encoders (`tu-convatlas_resnet34`), fastai as backbones. `pretrained=True` is
refused, for it names no weights: give `weights=` as to `convatlas.create_model`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from .. import zoo
from ..errors import ConvatlasError

try:
    from timm.models import FeatureInfo, register_model
except ImportError as _error:
    raise ConvatlasError("convatlas.timm needs timm: pip install timm") from _error

PREFIX = "convatlas_"
__all__ = ["PREFIX"]
IGNORED = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable", "exportable", "no_jit")


def _entry(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, *, features_only: bool = False, out_indices: Sequence[int] | None = None,
              weights: str | None = None, **given: Any) -> nn.Module:
        if pretrained:
            raise ConvatlasError(f"pretrained=True names no weights for {PREFIX}{name}: give weights=, such as "
                                 "'timm/resnet50.a1_in1k' or a file (`convatlas list --pretrained`)")
        fields = {key: value for key, value in given.items() if key not in IGNORED}
        if not features_only:
            model: Any = zoo.create_model(name, weights, **fields)
        else:
            model = zoo.create_model(name, weights, features_only=True, out_indices=out_indices, **fields)
            model.feature_info = FeatureInfo([dict(each) for each in model.feature_info],
                                             tuple(range(len(model.feature_info))))
        made: nn.Module = model
        about = model.card.preprocess if not features_only else None
        made.pretrained_cfg = made.default_cfg = {      # type: ignore[assignment]
            "architecture": PREFIX + name, "num_classes": getattr(made, "num_classes", 0), "first_conv": "",
            "classifier": "head.classifier",
            "mean": getattr(about, "mean", None) or (0.485, 0.456, 0.406),
            "std": getattr(about, "std", None) or (0.229, 0.224, 0.225),
        }
        return made

    build.__name__ = build.__qualname__ = PREFIX + name
    build.__doc__ = f"convatlas's {name}."
    return build


for _name in zoo.list_models():
    register_model(_entry(_name))
