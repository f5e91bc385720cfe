"""`convatlas data show`."""

from collections.abc import Mapping, Sequence
from functools import partial
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
    Json,
    argument,
    option,
)

if TYPE_CHECKING:
    from ..data import ImageSet

PAIRED = ("data.masks", "data.mask_orientation", "data.val_fraction", "data.strict")   # settings that show in a sheet

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
    source: Annotated[str, argument("DATA", DATA_HELP[:-1] + ", or a folder of images and masks.")],
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
    out: Annotated[Path | None, option(
        "--out", panel=OUTPUT, metavar="FILE", help="A .png or .svg file; left out: [bold]augmented.png[/], of images "
        "with masks [bold]understood.png[/].")] = None,
    json: Json = False,
) -> None:
    """Draw training pictures as a recipe's augmentation shows them to the network, on one sheet.

    Of a folder of images and masks draw what is understood: images, masks in the colours of their classes, and how
    often each class occurs; where masks are not understood, what they hold.

    [bold]Examples[/]
      convatlas data show digits --recipe lenet5
      convatlas data show cifar10 --model resnet20_cifar --out cifar.svg
      convatlas data show photos/ --recipe modern --image-size 224 --set augment.erase=0.5
      convatlas data show pairs/ --set data.masks=classes --out masks.png
    """
    from ..errors import ConvatlasError
    from .configuration import configured
    from .configuration import image_size as size

    if _is_paired(source):
        _show_pairs(source, sets or (), rows, seed, out or Path("understood.png"), {
            "--data-dir": data_dir, "--download": download or None, "--image-size": image_size,
            "--in-chans": in_chans, "--model": model, "--recipe": recipe}, json)
        return
    out = out or Path("augmented.png")
    if out.suffix.lower() not in (".png", ".svg"):
        raise ConvatlasError(f"--out {str(out)!r} is refused: a sheet is written as .png or .svg")
    flags = [("model.name", model), ("model.fields.image_size", size(image_size)), ("model.fields.in_chans", in_chans),
             ("data.source", source), ("data.data_dir", data_dir), ("data.download", download or None),
             ("train.seed", seed)]
    run, choice = configured(flags, recipe=recipe or (None if model else "modern"), config=None, sets=sets or ())

    with console.loading():
        import torch

        from ..api import create_model
        from ..data import fitted, make_transform, open_data
        from ..data.images import encoded, ranged
        from ..data.survey import understood
        from ..draw.canvas import save
        from ..inspect import sheet
        from ..tasks import CLASSES, fit

    opened = open_data(run.data, seed=run.split_seed)
    if choice is not None:
        run, told = fit.scaled(run, choice, fit.looked_at(CLASSES, opened))
        for sentence in told:
            console.plain(sentence, to=console.err)
    with torch.device("meta"):
        network = create_model(run.model.name, **run.model.fields)
    run = understood(run, len(opened.train), partial(encoded, opened.train),
                     lambda sentence: console.plain(sentence, to=console.err))
    images = ranged(opened.train, run.preprocess.range)
    channels = network.in_chans if model or in_chans else _channels(opened.train, network.in_chans)
    found = fitted.fit(run.preprocess, run.augment, images,
                       fitted.unnormalized(run.preprocess, network.image_size, channels),
                       tell=lambda sentence: console.plain(sentence, to=console.err))
    transform = make_transform(run.preprocess, network.image_size, channels, run.augment, fitted=found)
    words = sheet.in_words(run.augment, run.preprocess)
    title = f"{run.recipe} on {opened.name}"
    save(sheet.sheet(images, opened.classes, transform, title, words, rows=rows, seed=seed), out)
    if json:
        console.document({"data": opened.name, "recipe": run.recipe, "images": len(opened.train),
                          "classes": list(opened.classes), "input": [channels, *transform.size],
                          "augmentation": words, "notes": list(opened.notes), "written": str(out)})
        return
    for note in opened.notes:
        console.plain(note)
    console.plain(f"{title}, input {channels}×{transform.size[0]}×{transform.size[1]}: {', '.join(words)}")
    console.plain(f"written to {out}")


def _is_paired(source: str) -> bool:
    """True for images with masks: those that come along, or a folder of such."""
    path = Path(source).expanduser()
    with console.loading():
        from ..segment.layouts import is_paired
        from ..segment.pairs import ALONG
    return source in ALONG or (path.is_dir() and is_paired(path))


def _show_pairs(source: str, sets: Sequence[str], rows: int, seed: int, out: Path,
                others: Mapping[str, object], json: bool) -> None:
    """The sheet of images and masks."""
    from ..errors import ConvatlasError
    from ..run import Run, resolve

    for name in (name for name, value in others.items() if value is not None):
        raise ConvatlasError(f"{name} is refused for {source!r}, images with masks: these are drawn as they are")
    for field in (each.partition("=")[0] for each in sets):
        if field not in PAIRED:
            raise ConvatlasError(f"--set {field} is refused for {source!r}, images with masks: how these are read is "
                                 f"said by {', '.join(PAIRED)}")
    config = resolve(Run(), sets=sets).data.model_copy(update={"source": source})

    with console.loading():
        from ..draw.canvas import save
        from ..segment import show
        from ..segment.layouts import listed
        from ..segment.pairs import ALONG, open_pairs
    found = [pair for part in ({} if source in ALONG else listed(Path(source).expanduser())).values()
             for pair in part.pairs]
    name = Path(source).expanduser().resolve().name
    try:
        opened = open_pairs(config)
    except ConvatlasError as error:
        if not found:
            raise
        figure, legend = show.refused(name, found, str(error), rows=rows, seed=seed)
        notes: Sequence[str] = (f"not understood: {error}",)
    else:
        figure, legend = show.understood(opened, rows=rows, seed=seed)
        notes = opened.notes
    save(figure, out)
    if json:
        console.document({"data": name if found else source, "notes": list(notes), "classes": list(legend),
                          "written": str(out)})
        return
    for line in (*notes, *legend, f"written to {out}"):
        console.plain(line)


def _channels(images: "ImageSet", otherwise: int) -> int:
    """Those of the first picture that can be read: no network was named, so none asks for others."""
    from ..data import UnreadableImage

    for index in range(len(images)):
        try:
            return images.read(index).shape[0]
        except UnreadableImage:
            continue
    return otherwise
