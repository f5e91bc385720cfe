"""Costs that a part states itself, where torch's layer types do not say them."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Counted(nn.Module, ABC):
    """A layer that counts itself; the layer table shows it as one row and does not look inside."""

    @abstractmethod
    def macs(self, output: Tensor) -> int:
        """Multiply-adds of its convolution or product for one image; `output` is its result, (N, …)."""

    @abstractmethod
    def connections(self, output: Tensor) -> int:
        """Links into its units as LeCun's papers count them, one bias link per unit included."""

    def reach(self) -> tuple[int, int]:
        """(kernel, stride) on the input map, for receptive fields; (1, 1) looks at one position."""
        return 1, 1
