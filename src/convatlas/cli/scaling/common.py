"""Common ground of `convatlas scale`'s commands: budgets as they are typed, the network to begin from, coefficients."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import ConvatlasError
from ..options import REAL, Parser, argument, option

if TYPE_CHECKING:
    from ...scale.compound import Coefficients

BUDGET, RULE = "The budget", "The rule"       # panels of --help
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def _amount(units: dict[str, float], example: str) -> Parser:
    """Reader of a number with a unit, which may be written in either case where that says the same."""
    lower = {unit.lower(): factor for unit, factor in units.items()}

    def read(text: str) -> float:
        digits = text.strip().rstrip("kKmMgGtTbBiIuUsS")
        unit = text.strip()[len(digits):].lower()
        try:
            value = float(digits) * lower[unit]
        except (ValueError, KeyError):
            raise typer.BadParameter(f"{text!r} is not a number with one of {', '.join(filter(None, units))}, such as "
                                     f"{example}") from None
        if not 0 < value < float("inf"):
            raise typer.BadParameter(f"{text!r} is refused: it must be more than 0, such as {example}")
        return value
    return read


Macs = Annotated[float | None, option("--macs", panel=BUDGET, metavar="2G", parser=_amount(COUNTS, "300M"),
                                      help="Multiply-adds for one image.")]
Params = Annotated[float | None, option("--params", panel=BUDGET, metavar="5M", parser=_amount(COUNTS, "5M"),
                                        help="Trainable parameters.")]
MemoryBudget = Annotated[float | None, option(
    "--memory", panel=BUDGET, metavar="200MB", parser=_amount(BYTES, "200MB"),
    help="Bytes at the peak of predicting a batch: weights, images and activations that live at once.")]
LatencyBudget = Annotated[float | None, option(
    "--latency", panel=BUDGET, metavar="20ms", parser=_amount(SECONDS, "20ms"),
    help="Time of one call of the deployed network on this machine, measured.")]

Alpha = Annotated[float | None, option("--alpha", panel=RULE, metavar="A", parser=REAL,
                                       help="Growth of depth with each φ; left out: 1.2, the paper's.")]
Beta = Annotated[float | None, option("--beta", panel=RULE, metavar="B", parser=REAL,
                                      help="Growth of width; left out: 1.1.")]
Gamma = Annotated[float | None, option("--gamma", panel=RULE, metavar="C", parser=REAL,
                                       help="Growth of the image's sides; left out: 1.15.")]
Found = Annotated[Path | None, option("--found", panel=RULE, metavar="SEARCH",
                                      help="Take the coefficients that this folder of a search has found.")]
Network = Annotated[str, argument("MODEL", "A network's name (convatlas list), a run folder or a file of weights.")]


def coefficients(alpha: float | None, beta: float | None, gamma: float | None, found: Path | None) -> "Coefficients":
    """Those that were given; what is left out is a search's, or the paper's."""
    from ...scale.compound import PAPER, Coefficients, kept

    given = (alpha, beta, gamma)
    if found is not None and any(each is not None for each in given):
        raise ConvatlasError(f"--found {str(found)!r} and --alpha, --beta or --gamma are both given: coefficients come "
                             "from one place")
    base = PAPER if found is None else kept(found.expanduser())
    return Coefficients(*(own if own is not None else usual for own, usual
                          in zip(given, (base.alpha, base.beta, base.gamma), strict=True)))
