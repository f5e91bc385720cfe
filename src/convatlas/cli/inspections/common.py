"""Common ground of `convatlas inspect`'s commands: finding the network, and writing its picture."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ...errors import ConvatlasError
from ...files import put
from .. import console
from ..options import OUTPUT, argument, option

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...net.model import Convnet

FORMATS = (".png", ".svg", ".pdf")
DPI = 144       # of a PNG: two pixels per unit of a figure

Network = Annotated[str, argument("MODEL", "A run folder, a file of weights, weights that come along such as "
                                  "lenet5.digits, or a network's name (convatlas list).")]
Out = Annotated[Path | None, option("--out", "-o", panel=OUTPUT, metavar="FILE",
                                    help="The picture to write: .png, .svg or .pdf.")]


def network(text: str) -> "Convnet":
    """The network that `text` names, in eval mode: with its weights, or newly initialised from seed 0 (which is told).
    """
    import torch

    from ...net import registry
    from ...net.described import names_file
    from ...weights.checkpoints import load
    from ...zoo import create_model

    path = Path(text).expanduser()
    if not names_file(text) and (path.exists() or path.suffix or len(path.parts) > 1):
        return load(path)
    name = text if names_file(text) else registry.variant(text).name
    console.warn(f"{name} is newly initialised: give a run folder or a file of weights to look into a trained network")
    torch.manual_seed(0)
    return create_model(name).eval()


def target(out: Path | None, topic: str) -> Path:
    """The picture's path: `out`, or `<topic>.png` here.

    Called before the work, so that a wrong suffix is told at once.
    """
    path = (out or Path(f"{topic}.png")).expanduser()
    if path.suffix not in FORMATS:
        raise ConvatlasError(f"--out {str(path)!r} is refused: a picture's name ends in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ConvatlasError(f"--out {str(path)!r} is refused: there is no folder {str(path.parent)!r}")
    return path


def save(figure: "Figure", path: Path) -> None:
    """Write the figure and say where."""
    content = BytesIO()         # Matplotlib's PDF ends in an AttributeError where the disk is full
    figure.savefig(content, format=path.suffix[1:], dpi=DPI, facecolor=figure.get_facecolor())
    put(path, content.getvalue())
    console.plain(f"drawn: {path}", to=console.err)
