"""convatlas: convolutional networks from LeNet (1989) to 51×51 sparse kernels (2023), faithful to their papers.

Every public name is imported when it is first used, so that `import convatlas` costs almost nothing.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .api import Prediction as Prediction
    from .api import Trained as Trained
    from .api import evaluate as evaluate
    from .api import predict as predict
    from .api import train as train
    from .errors import ConvatlasError as ConvatlasError
    from .integrations.hub import publish as publish
    from .net.fold import fold as fold
    from .net.fully_convolutional import fully_convolutional as fully_convolutional
    from .recipes import recipe as recipe
    from .run import Run as Run
    from .scale.rule import scaled as scaled
    from .weights.checkpoints import convert_weights as convert_weights
    from .weights.checkpoints import explain_weights as explain_weights
    from .weights.checkpoints import load as load
    from .weights.checkpoints import load_weights as load_weights
    from .weights.checkpoints import save as save
    from .zoo import Info as Info
    from .zoo import create_model as create_model
    from .zoo import info as info
    from .zoo import list_models as list_models
    from .zoo import transforms as transforms

_HOME = {
    "create_model": "zoo", "list_models": "zoo", "info": "zoo", "transforms": "zoo", "Info": "zoo",
    "load": "weights.checkpoints", "save": "weights.checkpoints", "load_weights": "weights.checkpoints",
    "explain_weights": "weights.checkpoints", "convert_weights": "weights.checkpoints",
    "train": "api", "evaluate": "api", "predict": "api", "Prediction": "api", "Trained": "api",
    "publish": "integrations.hub", "fold": "net.fold", "fully_convolutional": "net.fully_convolutional",
    "scaled": "scale.rule", "recipe": "recipes", "Run": "run", "ConvatlasError": "errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convatlas' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


_MOVED = {      # documented modules: where they were -> where they are
    "convatlas.timm": "convatlas.integrations.timm",
    "convatlas.ray": "convatlas.integrations.ray",
    "convatlas.native": "convatlas.deploy.native",
    "convatlas.deploy.plan": "convatlas.deploy.native.plan",
    "convatlas.deploy.pack": "convatlas.deploy.graph.pack",
    "convatlas.inspect.neighbours": "convatlas.inspect.neighbors",
    "convatlas.inspect.segmentation": "convatlas.segment.sheet",
}


class _Moved:
    """Import hook for a module's old name: one module under two names."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        # typeshed asks for the ABC, whose import takes 10 ms
        return ModuleSpec(fullname, self) if fullname in _MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> Any:
        module = import_module(_MOVED[spec.name])
        self.kept = module.__spec__
        return module

    def exec_module(self, module: Any) -> None:
        module.__spec__ = self.kept     # the import system has put the old name's there


sys.meta_path.append(_Moved())
