"""Checkpoints in and out: our own safetensors, which say what they are, and files of torchvision and timm by their
names.
"""

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

__all__ = [
    "Foreign", "Peer", "Pretrained", "Recognized", "Report", "Row", "blank", "catalog", "check_own", "conventions",
    "exported", "fetch", "find", "is_name", "is_ours", "libraries", "load_foreign", "of_file", "of_network", "own_file",
    "peers_of", "prepared", "published", "read", "read_card", "recognise", "rules_of", "save", "shipped",
]
