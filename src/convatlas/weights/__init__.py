"""Checkpoints in and out: our own safetensors, which say what they are, and files of torchvision and timm by their
names.

Every name is imported when it is first used: what is known of weights (`catalog`, `shipped`) needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..net.meta import blank as blank
    from .files import Foreign as Foreign
    from .files import read as read
    from .foreign import Recognized as Recognized
    from .foreign import Report as Report
    from .foreign import Row as Row
    from .foreign import exported as exported
    from .foreign import load as load_foreign
    from .foreign import own as own_file
    from .foreign import recognize as recognize
    from .hub import fetch as fetch
    from .hub import is_name as is_name
    from .own import check as check_own
    from .own import conventions as conventions
    from .own import find as find
    from .own import is_ours as is_ours
    from .own import of_network as of_network
    from .own import prepared as prepared
    from .own import read_card as read_card
    from .own import save as save
    from .pretrained import Pretrained as Pretrained
    from .pretrained import catalog as catalog
    from .pretrained import of_file as of_file
    from .pretrained import published as published
    from .pretrained import shipped as shipped
    from .tables import Peer as Peer
    from .tables import libraries as libraries
    from .tables import peers as peers_of
    from .tables import rules as rules_of

_HOME = {       # file, and the name there where it is another one
    "blank": "..net.meta", "Foreign": ".files", "read": ".files",
    "Recognized": ".foreign", "Report": ".foreign", "Row": ".foreign", "exported": ".foreign",
    "load_foreign": ".foreign load", "own_file": ".foreign own", "recognize": ".foreign",
    "fetch": ".hub", "is_name": ".hub",
    "check_own": ".own check", "conventions": ".own", "find": ".own", "is_ours": ".own", "of_network": ".own",
    "prepared": ".own", "read_card": ".own", "save": ".own",
    "Pretrained": ".pretrained", "catalog": ".pretrained", "of_file": ".pretrained", "published": ".pretrained",
    "shipped": ".pretrained",
    "Peer": ".tables", "libraries": ".tables", "peers_of": ".tables peers", "rules_of": ".tables rules",
}

__all__ = [
    "Foreign", "Peer", "Pretrained", "Recognized", "Report", "Row", "blank", "catalog", "check_own", "conventions",
    "exported", "fetch", "find", "is_name", "is_ours", "libraries", "load_foreign", "of_file", "of_network", "own_file",
    "peers_of", "prepared", "published", "read", "read_card", "recognize", "rules_of", "save", "shipped",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convatlas.weights' has no attribute {name!r}")
    module, _, there = _HOME[name].partition(" ")
    return getattr(import_module(module, __name__), there or name)
