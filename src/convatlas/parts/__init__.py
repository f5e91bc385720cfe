"""The literature's ideas, one per file. A part knows torch and other parts, nothing else."""

from .act import ScaledTanh as ScaledTanh
from .conv import LocalConv2d as LocalConv2d
from .conv import TableConv2d as TableConv2d
from .counted import Counted as Counted
from .drop import DropPath as DropPath
from .drop import ramp as ramp
from .init import gaussian_ as gaussian_
from .init import lecun_linear as lecun_linear
from .init import lecun_uniform_ as lecun_uniform_
from .norm import LocalResponseNorm as LocalResponseNorm
from .pool import Subsample2d as Subsample2d
from .rbf import RBF as RBF
from .rbf import random_codes as random_codes
