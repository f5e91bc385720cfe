"""Zeros that sparse training left among a network's weights, and what they could save (SLaK: Liu et al. 2023)."""

from torch import nn

from ..net.fold import fold
from ..net.layers import layer_table
from ..net.model import Convnet

LEAST = 0.02        # share of zeros in a layer's weights; below it they may be chance: masks leave such layers whole


def zero_shares(model: nn.Module) -> dict[str, float]:
    """Share of zeros among the weights of each convolution and linear layer that has at least `LEAST`, by its name."""
    shares = {name: 1 - layer.weight.count_nonzero().item() / layer.weight.numel()
              for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    return {name: share for name, share in shares.items() if share >= LEAST}


def could_save(model: Convnet) -> tuple[str, dict[str, float]]:
    """A sentence on the zeros in a network as it is deployed, folded, and their share by layer; empty without any.

    Folding adds a small kernel to a large one's centre, and leaves fewer zeros there.
    """
    if not zero_shares(model):
        return "", {}
    folded = fold(model)
    shares, macs = zero_shares(folded), {row.name: row.macs for row in layer_table(folded)}
    saved, total = sum(macs.get(name, 0) * share for name, share in shares.items()), sum(macs.values())
    if not shares or not total:
        return "", {}
    low, high = min(shares.values()), max(shares.values())
    return (f"{len(shares)} layers have zeros among their weights, {100 * low:.0f} to {100 * high:.0f} % of each "
            f"(deploy.json says which): {100 * saved / total:.0f} % of the multiply-adds. They are computed all the "
            "same: at random places they cost more to leave out than to multiply, up to about 80 % of them."), shares
