"""LeCun's convolutions: kernels shared between chosen pairs of maps, biases per map or per unit, weights not shared at
all.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .counted import Counted
from .init import lecun_uniform_

Table = Sequence[Sequence[int]]


class TableConv2d(Counted):
    """A convolution in which output map i reads only the input maps `table[i]` (LeCun 1989; LeCun et al. 1998, Table
    I).

    One k×k kernel per link, so `weight` is (links, k, k) in the table's order and holds nothing that is not there.
    `units` = (H, W) gives every unit a bias of its own, (cout, H, W), as in 1989, and fixes the size of the maps.
    `border` is what the map is surrounded with. Input (N, cin, H, W), output (N, cout, H', W').
    """

    def __init__(self, cin: int, table: Table, kernel: int, stride: int = 1, padding: int = 0, *,
                 border: float = 0.0, units: tuple[int, int] | None = None) -> None:
        super().__init__()
        cout, links = len(table), sum(map(len, table))
        if not all(0 <= j < cin for row in table for j in row):
            raise ValueError(f"the connection table reads a map outside 0..{cin - 1}")
        self.cin, self.cout, self.kernel, self.stride, self.padding, self.border = (cin, cout, kernel, stride,
                                                                                    padding, border)
        self.units, self.links, self.full = units, links, links == cin * cout
        self.weight = nn.Parameter(torch.empty(links, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(cout, *(units or ())))
        place = torch.tensor([i * cin + j for i, row in enumerate(table) for j in row], device="cpu")
        self.place: Tensor
        self.register_buffer("place", place.to(torch.get_default_device()), persistent=False)
        lecun_uniform_(self.weight, self.bias, links * kernel**2 // cout)

    def forward(self, x: Tensor) -> Tensor:
        k = self.kernel
        if self.padding:
            x = F.pad(x, [self.padding] * 4, value=self.border)
        dense: Tensor = self.weight
        if not self.full:
            dense = dense.new_zeros(self.cout * self.cin, k, k).index_copy(0, self.place, dense)
        dense = dense.view(self.cout, self.cin, k, k)
        if self.units is None:
            return F.conv2d(x, dense, self.bias, self.stride)
        return F.conv2d(x, dense, None, self.stride) + self.bias

    def macs(self, output: Tensor) -> int:
        return self.links * self.kernel**2 * output.shape[-2] * output.shape[-1]

    def connections(self, output: Tensor) -> int:
        return self.macs(output) + output[0].numel()

    def reach(self) -> tuple[int, int]:
        return self.kernel, self.stride

    def extra_repr(self) -> str:
        bias = "per unit" if self.units else "per map"
        return f"{self.cin}, {self.cout}, kernel={self.kernel}, stride={self.stride}, links={self.links}, bias {bias}"


class LocalConv2d(Counted):
    """A convolution's local windows with weights of their own at every position (LeCun 1989, Net-3 and Net-4).

    `units` = (H', W') is the size of the output maps, which fixes the input's. `weight` is (cout, H'·W', cin·k²),
    `bias` (cout, H', W'). Input (N, cin, H, W), output (N, cout, H', W').
    """

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, padding: int, units: tuple[int, int], *,
                 border: float = 0.0) -> None:
        super().__init__()
        self.cin, self.cout, self.kernel, self.stride, self.padding, self.border = (cin, cout, kernel, stride,
                                                                                    padding, border)
        self.units = units
        self.weight = nn.Parameter(torch.empty(cout, units[0] * units[1], cin * kernel**2))
        self.bias = nn.Parameter(torch.empty(cout, *units))
        lecun_uniform_(self.weight, self.bias, cin * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, [self.padding] * 4, value=self.border)
        windows = F.unfold(x, self.kernel, stride=self.stride)                    # (N, cin·k², H'·W')
        return torch.unflatten(torch.einsum("nfl,clf->ncl", windows, self.weight), 2, self.units) + self.bias

    def macs(self, output: Tensor) -> int:
        return self.weight.numel()

    def connections(self, output: Tensor) -> int:
        return self.weight.numel() + self.bias.numel()

    def reach(self) -> tuple[int, int]:
        return self.kernel, self.stride

    def extra_repr(self) -> str:
        return (f"{self.cin}, {self.cout}, kernel={self.kernel}, stride={self.stride}, units={self.units}, "
                "nothing shared")


class Twice(nn.Module):
    """Repetition of every map, twice in a row, so that each pair is subsampled with coefficients of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.repeat_interleave(x, 2, dim=1)
