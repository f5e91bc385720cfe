"""From a trained network to one that answers fast.

What only needs torch is imported at once; the rest, which measures and writes, when it is first used.
"""

from typing import TYPE_CHECKING, Any

from .fold import Folded as Folded
from .fold import fold as fold
from .fold import fold_structure as fold_structure
from .rewrite import rewrite as rewrite

if TYPE_CHECKING:
    from .bundle import Deployed as Deployed
    from .bundle import deploy as deploy
    from .bundle import deployed as deployed
    from .choose import Report as Report
    from .choose import optimize as optimize
    from .exports import Exported as Exported
    from .exports import export as export
    from .int8 import Quantised as Quantised
    from .int8 import quantize as quantize
    from .sensitivity import sensitivities as sensitivities

_HOME = {"Deployed": "bundle", "deploy": "bundle", "deployed": "bundle", "Report": "choose", "optimize": "choose", "Exported": "exports",
         "export": "exports", "Quantised": "int8", "quantize": "int8", "sensitivities": "sensitivity"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convatlas.deploy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
