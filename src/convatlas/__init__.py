"""convatlas: convolutional networks from LeNet (1989) to 51×51 sparse kernels (2023), faithful to their papers.

Every public name is imported when it is first used, so that `import convatlas` costs almost nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import Prediction as Prediction
    from .api import Trained as Trained
    from .api import evaluate as evaluate
    from .api import predict as predict
    from .api import train as train
    from .checkpoints import convert_weights as convert_weights
    from .checkpoints import explain_weights as explain_weights
    from .checkpoints import load as load
    from .checkpoints import load_weights as load_weights
    from .checkpoints import save as save
    from .dense import fully_convolutional as fully_convolutional
    from .deploy import fold as fold
    from .errors import ConvatlasError as ConvatlasError
    from .publishing import publish as publish
    from .recipes import recipe as recipe
    from .run import Run as Run
    from .zoo import Info as Info
    from .zoo import create_model as create_model
    from .zoo import info as info
    from .zoo import list_models as list_models
    from .zoo import transforms as transforms

_HOME = {
    "create_model": "zoo", "list_models": "zoo", "info": "zoo", "transforms": "zoo", "Info": "zoo",
    "load": "checkpoints", "save": "checkpoints", "load_weights": "checkpoints", "explain_weights": "checkpoints",
    "convert_weights": "checkpoints",
    "train": "api", "evaluate": "api", "predict": "api", "Prediction": "api", "Trained": "api",
    "publish": "publishing", "fold": "deploy", "fully_convolutional": "dense", "recipe": "recipes", "Run": "run",
    "ConvatlasError": "errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convatlas' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
