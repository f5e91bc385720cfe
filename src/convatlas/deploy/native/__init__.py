"""Kernels of our own, for what the engines leave on the table: compiled on the machine that they run on.

Nothing else here needs torch, so that a deployed folder answers without it; `deploy.native.plan`, which does, makes the
steps of a network.
"""

from .build import compiler as compiler
from .build import kernels as kernels
from .build import missing as missing
from .engine import Choice as Choice
from .engine import Network as Network
from .work import UnsupportedError as UnsupportedError
