"""`convatlas inspect predictions`."""

from typing import TYPE_CHECKING, Annotated

from ...errors import ConvatlasError
from .. import console
from ..options import (
    COMMON,
    COUNT,
    DATA,
    NATURAL,
    BatchSize,
    DataDir,
    Debug,
    Device,
    Download,
    Json,
    argument,
    option,
    switch,
)
from ..paths import pictures
from .common import Network, Out, network, save, target
from .given import files, labeled

if TYPE_CHECKING:
    from ...inspect.predictions import Guess

TOPIC = "predictions"


def predictions(
    model: Network,
    images: Annotated[list[str] | None, argument(
        "[IMAGE]", "Files, folders of them, or patterns such as 'photos/*.jpg'.")] = None,
    data: Annotated[str | None, option("--data", panel=DATA, metavar="DATA", help=(
        "Labelled images instead: the validation part of digits, mnist, cifar10, …, a folder by class, or an "
        ".npz."))] = None,
    data_dir: DataDir = None,
    download: Download = False,
    count: Annotated[int, option("--count", "-n", panel=DATA, parser=COUNT, help="How many images of DATA.",
                                 show_default=True)] = 8,
    seed: Annotated[int, option("--seed", panel=DATA, parser=NATURAL, help="Which images of DATA.",
                                show_default=True)] = 0,
    wrong: Annotated[bool, switch("--wrong", panel=DATA, help="Of DATA only images that are taken for another "
                                  "class.")] = False,
    top_k: Annotated[int, option("--top-k", "-k", panel=COMMON, parser=COUNT, help="Bars per image.",
                                 show_default=True)] = 5,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    debug: Debug = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Draw images above bars of their likeliest classes, as AlexNet's Figure 4: IMAGE after IMAGE, or some of --data
    with the true class marked. Images that cannot be read are named on stderr and left out.

    [bold]Examples[/]
      convatlas inspect predictions runs/photos holiday/ --out holiday.png
      convatlas inspect predictions runs/lenet --data mnist --data-dir ~/data --wrong
      convatlas inspect predictions runs/lenet --data digits --count 12 --seed 1 --out sheet.svg
    """
    path = target(out, TOPIC)
    if (data is None) == (not images):
        raise ConvatlasError("give either images, or --data with labelled ones")
    paths = pictures(images or [])

    with console.loading():
        from ...engine.distributed import world
        from ...inspect.predictions import draw
        from ...inspect.predictions import predictions as guess
        from ...net.segmenter import of_images
        from ...zoo import transforms

    with world(device) as here:
        net = network(model).to(here.device)
        of_images(net, "look at it with `convatlas inspect segmentation`")
        if data is None:
            found = guess(net, files(paths), transforms(net), top=top_k, batch_size=batch_size)
            title = f"What {net.name} says"
        else:
            source = labeled(data, data_dir, download, [model])
            classes = _matched(source.classes, net.card.classes)
            found = guess(net, source.val, transforms(net), classes=classes, count=count, seed=seed, wrong=wrong,
                          top=top_k, batch_size=batch_size)
            title = f"What {net.name} says of {source.name}" + (": mistakes" if wrong else "")
    save(draw(found, title), path)
    if json:
        console.document({"model": model, "data": data, "images": [_plain(each) for each in found]})


def _matched(classes: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The data's classes under the network's names for them, as `convatlas eval` matches them; says what it takes for
    what.
    """
    from ...errors import some
    from ...evaluation.matching import places, taken

    numbers = places(classes, known) if known else []
    unknown = [name for name, number in zip(classes, numbers, strict=False) if number < 0]
    for note in taken(classes, known) if known else ():
        console.plain(f"note: {note}", to=console.err)
    if unknown:
        console.warn(f"the network does not know {len(unknown)} of the {len(classes)} classes of the data: "
                     f"{some(unknown)}")
    return (tuple(known[number] if number >= 0 else name for name, number in zip(classes, numbers, strict=True))
            if known else classes)


def _plain(guess: "Guess") -> dict[str, object]:
    return {
        "image": guess.name, "truth": guess.truth,
        "truth_probability": guess.truth_probability, "truth_rank": guess.truth_rank,
        "predictions": [{"class": name, "probability": share}
                        for name, share in zip(guess.classes, guess.probabilities, strict=True)],
    }
