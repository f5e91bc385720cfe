"""`convatlas ablate`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from . import console
from .options import (
    COMMON,
    COUNT,
    DATA_HELP,
    FIELD,
    OUTPUT,
    TRAINING,
    AnyRecipe,
    DataDir,
    Debug,
    DeviceName,
    Download,
    Epochs,
    Sets,
    argument,
    option,
)
from .reproduce import told
from .trials import Workers, command


def ablate(
    model: Annotated[str, argument("MODEL", "A name that [bold]convatlas list[/] shows.")],
    data: Annotated[str, argument("DATA", DATA_HELP)],
    without: Annotated[list[str] | None, option(
        "--without", panel=TRAINING, metavar="PART", help="A part to take away, such as dropout, lrn, excite, "
        "augmentation, flip, weight-decay; repeatable, each an arm of its own.")] = None,
    changes: Annotated[list[str] | None, option(
        "--with", panel=TRAINING, metavar=FIELD, help="A change, such as [bold]act=tanh[/] (of the network) or "
        "[bold]optim.lr=0.1[/] (of the run); repeatable, each an arm of its own.")] = None,
    seeds: Annotated[int, option("--seeds", panel=TRAINING, parser=COUNT, show_default=True,
                                 help="How often each arm is trained.")] = 5,
    epochs: Epochs = None,
    recipe: AnyRecipe = None,
    sets: Sets = None,
    data_dir: DataDir = None,
    download: Download = False,
    device: Annotated[DeviceName | None, option("--device", panel=COMMON, help="Where to compute.")] = None,
    workers: Workers = None,
    out: Annotated[Path | None, option(
        "--out", panel=OUTPUT, metavar="DIR", help="Where results go; left out: ablations/DATE-MODEL-DATA.")] = None,
    debug: Debug = False,
) -> None:
    """Find out what parts of a network or of its training do on your data: it is trained as it is and with each part
    taken away or changed, from the same seeds, and compared in pairs, with an interval and a verdict. The same command
    goes on after Ctrl-C.

    [bold]Examples[/]
      convatlas ablate lenet5_modern digits --with act=tanh --epochs 5
      convatlas ablate alexnet_owt photos/ --without dropout --without flip --seeds 8
    """
    from .configuration import configured

    flags = [("model.name", model), ("data.source", data), ("data.data_dir", data_dir),
             ("data.download", download or None), ("train.epochs", epochs), ("train.device", device)]
    run, choice = configured(flags, recipe=recipe, config=None, sets=sets or ())
    where = out or Path("ablations") / f"{datetime.now():%Y-%m-%d}-{model}-{Path(data).stem}"
    with console.loading():
        from ..experiments.machinery.ablate import ablate as taken_apart

    told(lambda: taken_apart(run, choice, without or (), changes or (), where, seeds=seeds, workers=workers,
                             command=command(), tell=console.plain))
