"""From a trained network to one that answers fast."""

from .fold import Folded as Folded
from .fold import fold as fold
from .fold import fold_structure as fold_structure
