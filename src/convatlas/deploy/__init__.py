"""Deployment: from a trained network to one that answers fast.

Every name is imported when it is first used: a deployed folder's reader and the native kernels need no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..net.fold import Folded as Folded
    from ..net.fold import fold as fold
    from ..net.fold import fold_structure as fold_structure
    from .bundle import Deployed as Deployed
    from .bundle import deploy as deploy
    from .bundle import deployed as deployed
    from .choose import Report as Report
    from .choose import optimize as optimize
    from .exports import Exported as Exported
    from .exports import export as export
    from .extract import Extracted as Extracted
    from .extract import Extractor as Extractor
    from .extract import extractor as extractor
    from .graph.rewrite import rewrite as rewrite
    from .int8.quantization import Quantized as Quantized
    from .int8.quantization import quantize as quantize
    from .int8.sensitivity import sensitivities as sensitivities

_HOME = {
    "Folded": "..net.fold", "fold": "..net.fold", "fold_structure": "..net.fold", "rewrite": ".graph.rewrite",
    "Deployed": ".bundle", "deploy": ".bundle", "deployed": ".bundle", "Report": ".choose", "optimize": ".choose",
    "Exported": ".exports", "export": ".exports",
    "Extracted": ".extract", "Extractor": ".extract", "extractor": ".extract",
    "Quantized": ".int8.quantization", "quantize": ".int8.quantization", "sensitivities": ".int8.sensitivity",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convatlas.deploy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name], __name__), name)
