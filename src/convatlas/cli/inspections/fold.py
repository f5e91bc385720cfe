"""`convatlas inspect fold`."""

from typing import TYPE_CHECKING, Annotated, Any

from .. import console
from ..options import COMMON, NATURAL, Debug, Json, option
from .common import Network, Out, network, save, target

if TYPE_CHECKING:
    from ...inspect.fold import Kernel


def fold(
    model: Network,
    layer: Annotated[str | None, option("--layer", panel=COMMON, metavar="NAME",
                                        help="Whose branches; default: the first layer that has most.")] = None,
    made: Annotated[int, option("--map", panel=COMMON, parser=NATURAL, metavar="N",
                                help="The map whose kernels are drawn.", show_default=True)] = 0,
    seed: Annotated[int, option("--seed", panel=COMMON, parser=NATURAL, help="Of the image, which is noise.",
                                show_default=True)] = 0,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Draw how branches that training has side by side (RepVGG, RepLKNet, SLaK) become one kernel: each as a
    convolution, their sum, and the layer's map before and after.

    [bold]Examples[/]
      convatlas inspect fold repvgg_a0 --layer stages.0.1.conv
      convatlas inspect fold runs/repvgg --out merge.svg
    """
    path = target(out, "fold")
    with console.loading():
        from ...inspect import fold as merging

        result = merging.merge(network(model), layer, made, seed=seed)
    if json:
        console.document({"name": result.name, "layer": result.layer, "read": result.maps[0], "made": result.maps[1],
                          "branches": {name: _plain(kernel) for name, kernel in result.branches.items()},
                          "kernels": [_plain(kernel) for kernel in result.kernels], "difference": result.difference,
                          "largest": result.largest, "scores": result.scores})
    save(merging.draw(result), path)


def _plain(kernel: "Kernel") -> dict[str, Any]:
    return {"weight": kernel.weight.tolist(), "bias": kernel.bias}
