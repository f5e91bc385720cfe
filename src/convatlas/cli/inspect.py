"""`convatlas inspect`: one picture per command, see `inspections/`."""

import typer

from .inspections.activations import activations
from .inspections.costs import costs
from .inspections.dense import dense
from .inspections.diagram import diagram
from .inspections.filters import filters
from .inspections.fold import fold
from .inspections.gates import gates
from .inspections.neighbors import neighbors
from .inspections.overlap_tile import overlap_tile
from .inspections.predictions import predictions
from .inspections.receptive_field import receptive_field
from .inspections.residuals import residuals
from .inspections.saliency import saliency
from .inspections.same_as_fc import same_as_fc
from .inspections.segmentation import segmentation
from .inspections.summary import summary
from .inspections.upsampling import upsampling

inspect = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

# panels of --help
NETWORK, WEIGHTS, IMAGES, IDEAS = "The network", "What it has learnt", "What it does with images", "Ideas"
COMMANDS = (
    ("summary", summary, NETWORK, "Layer by layer: shapes, cost, memory, receptive field."),
    ("diagram", diagram, NETWORK, "The architecture, drawn as papers draw them."),
    ("costs", costs, NETWORK, "What a kind of convolution costs, and where a network's cost lies."),
    ("receptive-field", receptive_field, NETWORK, "What a unit sees: in theory, and in effect."),
    ("filters", filters, WEIGHTS, "The kernels of a layer."),
    ("fold", fold, WEIGHTS, "Branches that become one kernel."),
    ("dense", dense, WEIGHTS, "DenseNet: which earlier layers each layer uses."),
    ("activations", activations, IMAGES, "The maps of each stage for one image."),
    ("saliency", saliency, IMAGES, "Which pixels decide."),
    ("gates", gates, IMAGES, "Squeeze-and-excitation: what each class opens and closes."),
    ("residuals", residuals, IMAGES, "How strongly layers respond."),
    ("segmentation", segmentation, IMAGES, "What a network makes of an image's pixels."),
    ("overlap-tile", overlap_tile, IMAGES, "The tiles that a large image is scored from."),
    ("predictions", predictions, IMAGES, "Images with their likeliest classes."),
    ("neighbours", neighbors, IMAGES, "Which images are alike to the network."),
    ("same-as-fc", same_as_fc, IDEAS, "A 1×1 convolution is a fully connected layer on every pixel."),
    ("upsampling", upsampling, IDEAS, "Convolution upwards, its checkerboard, and bilinear beside it."),
)
for _name, _function, _panel, _brief in COMMANDS:
    inspect.command(_name, rich_help_panel=_panel, short_help=_brief)(_function)


@inspect.callback()
def top() -> None:
    """Look inside a network: each command draws one picture, and most print their numbers with --json.

    [bold]Examples[/]
      convatlas inspect diagram googlenet --out googlenet.svg
      convatlas inspect filters runs/…
      convatlas inspect saliency runs/… photo.jpg
    """
