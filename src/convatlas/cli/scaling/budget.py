"""`convatlas scale budget`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ...errors import ConvatlasError
from .. import console
from ..deploy import BackendName
from ..options import COUNT, OUTPUT, SPEED, Debug, Json, option
from .common import (
    BUDGET,
    Alpha,
    Beta,
    Found,
    Gamma,
    LatencyBudget,
    Macs,
    MemoryBudget,
    Network,
    Params,
    card,
    coefficients,
)

if TYPE_CHECKING:
    from ...scale.compound import Reached


def budget(
    model: Network,
    phi: Annotated[str | None, option("--phi", panel=BUDGET, metavar="N|N..M",
                                      help="The networks at these φ of the rule, such as 1, 0.5 or 0..7.")] = None,
    macs: Macs = None,
    params: Params = None,
    memory: MemoryBudget = None,
    latency: LatencyBudget = None,
    alpha: Alpha = None,
    beta: Beta = None,
    gamma: Gamma = None,
    found: Found = None,
    batch: Annotated[int, option("--batch", "-b", panel=SPEED, parser=COUNT, show_default=True,
                                 help="Images at a time, for memory and latency.")] = 1,
    backend: Annotated[BackendName, option("--backend", panel=SPEED, show_default=True,
                                           help="What runs the deployed network.")] = "auto",
    out: Annotated[Path | None, option(
        "--out", "-o", panel=OUTPUT, metavar="FILE", help="Write the network as YAML, for [bold]convatlas train "
        "--config[/]; of several φ, the last.")] = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Scale a network by the compound rule: depth by α^φ, width by β^φ, image sides by γ^φ. At φ from 0 on, or to the
    nearest network that a budget reaches: then φ is continuous, and the image size takes up what rounding leaves.

    α·β²·γ² is the factor that each φ would put on the multiply-adds if nothing were rounded; the second table shows
    where rounding departs from it.

    [bold]Examples[/]
      convatlas scale budget efficientnet_b0 --phi 0..7
      convatlas scale budget resnet50 --macs 2G
      convatlas scale budget mobilenet_v2 --latency 20ms --batch 1 --out mobile.yaml
    """
    budgets = {"macs": macs, "params": params, "memory": memory, "latency": latency}
    asked = {name: value for name, value in budgets.items() if value is not None}
    if len(asked) + (phi is not None) != 1:
        raise ConvatlasError("a budget is one of --phi, --macs, --params, --memory and --latency: give exactly one")
    rule, steps = coefficients(alpha, beta, gamma, found), () if phi is None else _phis(phi)
    with console.loading():
        from ...scale import compound, cost

        start = card(model)
    reached: Reached | None = None
    if phi is not None:
        points = [compound.point(start.spec, rule, step) for step in steps]
    else:
        (name, value), = asked.items()
        measure = {"macs": cost.macs, "params": cost.params, "memory": lambda spec: cost.memory(spec, batch)}[name]
        reached = compound.reach(start.spec, value, measure, rule)
        points = [reached.point]
    console.document([{"phi": each.phi, "multipliers": each.multipliers, "image_size": each.spec.image_size,
                       **cost.cost(each.spec, batch)._asdict()} for each in points])


def _phis(text: str) -> list[float]:
    """`1`, `0,0.5,1` or `0..7`, whose steps are ones."""
    try:
        first, dots, last = text.partition("..")
        if not dots:
            return [float(word) for word in text.split(",")]
        found = [float(first) + i for i in range(int(float(last) - float(first)) + 1)]
    except (ValueError, OverflowError):
        found = []
    if not found or len(found) > 20:
        raise ConvatlasError(f"--phi {text!r} is refused: it is a number, several with commas, or a range of at most "
                             "20, such as 0..7")
    return found
