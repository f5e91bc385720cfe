"""The options that several commands share, written once."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

COMMON, DATA, TRAINING, SPEED, OUTPUT = "Options", "Data", "Training", "Speed", "Output"    # panels of --help


Parser = Callable[[str], int | float]


def _number(kind: type[int] | type[float], what: str, least: int | None = None) -> Parser:
    def read(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not {what}") from None
        if least is not None and value < least:
            raise typer.BadParameter(f"{text!r} is too small: at least {least}")
        return value
    return read


WHOLE, REAL = _number(int, "a whole number"), _number(float, "a number")
COUNT, NATURAL = _number(int, "a whole number", least=1), _number(int, "a whole number", least=0)


def times(text: str) -> float:
    """`10x`, or `10`."""
    value = REAL(text.lower().removesuffix("x").removesuffix("×"))
    if value <= 0:
        raise typer.BadParameter(f"{text!r} is not a factor above 0, such as 10x")
    return float(value)


def option(*names: str, panel: str, help: str, metavar: str | None = None, parser: Parser | None = None,
           show_default: bool = False) -> Any:
    """An option. Most defaults are not worth showing: nothing given means that something else decides."""
    metavar = "N" if parser is not None and metavar is None else metavar
    return typer.Option(*names, help=help, metavar=metavar, parser=parser, rich_help_panel=panel,
                        show_default=show_default)


def switch(name: str, *, panel: str, help: str) -> Any:
    """An option that takes no value."""
    return option(name, panel=panel, help=help, metavar="")


def argument(metavar: str, help: str) -> Any:
    """A word without a dash."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


DATA_HELP = ("What to read: [bold]digits[/] and fashion-small (come along), mnist, fashion-mnist, usps, cifar10, "
             "cifar100, svhn, a folder with one sub-folder of images per class, or an .npz file.")
DEVICE_HELP = "Where to compute; [bold]auto[/] takes the GPU where there is one."
FIELD = "FIELD=VALUE"

DeviceName = Literal["auto", "cpu", "cuda", "mps"]

Device = Annotated[DeviceName, typer.Option("--device", help=DEVICE_HELP, rich_help_panel=COMMON)]
Workers = Annotated[int, option("--workers", panel=COMMON, parser=NATURAL, help="Processes that read images.")]
BatchSize = Annotated[int, option(
    "--batch-size", "-b", panel=COMMON, parser=COUNT, help="Images at a time.", show_default=True)]
Debug = Annotated[bool, switch("--debug", panel=COMMON, help="Show the whole traceback of an error.")]

DataDir = Annotated[str | None, option(
    "--data-dir", panel=DATA, metavar="DIR",
    help="Where a named data set lies: torchvision's layout, or its plain idx, npz or binary files.")]
Download = Annotated[bool, switch("--download", panel=DATA, help="Fetch a named data set that is not there yet.")]
Strict = Annotated[bool, switch(
    "--strict", panel=DATA, help="Stop at an image that cannot be read; otherwise it is skipped and counted.")]
Epochs = Annotated[int | None, option(
    "--epochs", panel=TRAINING, parser=WHOLE, help="Passes over the training images, of every training.")]
AnyRecipe = Annotated[str | None, option(
    "--recipe", panel=TRAINING, metavar="NAME", help="As in [bold]convatlas train[/].")]
Sets = Annotated[list[str] | None, option(
    "--set", panel=TRAINING, metavar=FIELD, help="Any field of a run, of every training, such as "
    "[bold]optim.lr=0.1[/]; repeatable.")]
Preparation = Annotated[list[str] | None, option(
    "--set", panel=DATA, metavar=FIELD, help="Prepare pictures otherwise than the weights say, such as "
    "preprocess.mean=0.5,0.5,0.5; needed where others trained them and it is not known.")]
AcceptChanges = Annotated[bool, switch(
    "--accept-changes", panel=DATA, help="Go by what is left of a run's images where its data has changed since.")]
MaxPixels = Annotated[int | None, option(
    "--max-pixels", panel=DATA, parser=COUNT, help="Do not decode an image of more pixels; left out: as many as an "
    "eighth of the free memory holds.")]

Json = Annotated[bool, switch("--json", panel=OUTPUT, help="Print one JSON document and nothing else.")]
