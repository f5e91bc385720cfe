"""`convatlas data show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console
from .options import (
    COUNT,
    DATA,
    DATA_HELP,
    FIELD,
    NATURAL,
    OUTPUT,
    TRAINING,
    DataDir,
    Debug,
    Download,
    argument,
    option,
)

if TYPE_CHECKING:
    from ..data import ImageSet

data = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@data.callback()
def top() -> None:
    """Look at data, and bring it into shape.

    [bold]Examples[/]
      convatlas data show digits --recipe lenet5
      convatlas data show photos/ --model resnet50 --out photos.png
      convatlas data check photos/
    """


@data.command("show")
def show(
    source: Annotated[str, argument("DATA", DATA_HELP)],
    seed: Annotated[int, option("--seed", panel=DATA, parser=NATURAL, help="Other pictures, other chance.")] = 0,
    debug: Debug = False,
    data_dir: DataDir = None,
    download: Download = False,
    image_size: Annotated[str | None, option(
        "--image-size", panel=DATA, metavar="N|HxW", help="Pixels of the network's input; left out: as the network has "
        "it.")] = None,
    in_chans: Annotated[int | None, option(
        "--in-chans", panel=DATA, parser=COUNT, help="Channels of the input; left out: the network's, or the pictures' "
        "own.")] = None,
    model: Annotated[str | None, option(
        "--model", panel=TRAINING, metavar="NAME", help="The network whose input and recipe to take.")] = None,
    recipe: Annotated[str | None, option(
        "--recipe", panel=TRAINING, metavar="NAME",
        help="The recipe whose augmentation to show; left out: the network's own, or modern.")] = None,
    sets: Annotated[list[str] | None, option(
        "--set", panel=TRAINING, metavar=FIELD,
        help="Any field of a run, such as [bold]augment.flip=0.5[/]; repeatable.")] = None,
    rows: Annotated[int, option("--rows", panel=OUTPUT, parser=COUNT, help="Training pictures, one per row.",
                                show_default=True)] = 6,
    out: Annotated[Path, option("--out", panel=OUTPUT, metavar="FILE", help="A .png or .svg file.",
                                show_default=True)] = Path("augmented.png"),
) -> None:
    """Draw training pictures as a recipe's augmentation shows them to the network, on one sheet.

    [bold]Examples[/]
      convatlas data show digits --recipe lenet5
      convatlas data show cifar10 --model resnet20_cifar --out cifar.svg
      convatlas data show photos/ --recipe modern --image-size 224 --set augment.erase=0.5
    """
    from ..errors import ConvatlasError
    from .configuration import configured
    from .configuration import image_size as size

    if out.suffix.lower() not in (".png", ".svg"):
        raise ConvatlasError(f"--out {str(out)!r} is refused: a sheet is written as .png or .svg")
    flags = [("model.name", model), ("model.fields.image_size", size(image_size)), ("model.fields.in_chans", in_chans),
             ("data.source", source), ("data.data_dir", data_dir), ("data.download", download or None),
             ("train.seed", seed)]
    run = configured(flags, recipe=recipe or (None if model else "modern"), config=None, sets=sets or ())

    with console.loading():
        import torch

        from ..api import create_model
        from ..data import fitted, make_transform, open_data
        from ..draw.canvas import save
        from ..inspect import sheet

        with torch.device("meta"):
            network = create_model(run.model.name, **run.model.fields)
    opened = open_data(run.data, seed=run.train.seed)
    channels = network.in_chans if model or in_chans else _channels(opened.train, network.in_chans)
    found = fitted.fit(run.preprocess, run.augment, opened.train,
                       fitted.unnormalized(run.preprocess, network.image_size, channels),
                       tell=lambda sentence: console.plain(sentence, to=console.err))
    transform = make_transform(run.preprocess, network.image_size, channels, run.augment, fitted=found)
    words = sheet.in_words(run.augment, run.preprocess)
    title = f"{run.recipe} on {opened.name}"
    save(sheet.sheet(opened.train, opened.classes, transform, title, words, rows=rows, seed=seed), out)
    for note in opened.notes:
        console.plain(note)
    console.plain(f"{title}, input {channels}×{transform.size[0]}×{transform.size[1]}: {', '.join(words)}")
    console.plain(f"written to {out}")


def _channels(images: "ImageSet", otherwise: int) -> int:
    """Those of the first picture that can be read: no network was named, so none asks for others."""
    from ..data import UnreadableImage

    for index in range(len(images)):
        try:
            return images.read(index).shape[0]
        except UnreadableImage:
            continue
    return otherwise
