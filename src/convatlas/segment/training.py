"""Training a network that segments: its loaders, and the sheet that it leaves."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from torch import Tensor

from ..data.images import UnreadableImage
from ..data.transform import make_transform
from ..engine.distributed import World
from ..engine.least import least_batch
from ..files import whole_write
from ..net.segmenter import Segmenter
from ..run import Run
from .pairs import Masked, Pairs
from .patches import PatchLoader, WholeImages
from .sheet import draw, look


def loaders(run: Run, net: Segmenter, pairs: Pairs, here: World,
            tell: Callable[[str], None]) -> tuple[PatchLoader, WholeImages]:
    """Patches to train on, and whole images to be judged on; each process gets its share."""
    least = least_batch(net, run, len(pairs.train), here, tell)
    patches = PatchLoader(pairs.train, net, run.preprocess, run.augment, run.loss, run.data.batch_size, least=least,
                          seed=run.train.seed, shuffle=run.data.shuffle, rank=here.rank, world=here.size,
                          workers=run.data.workers, strict=run.data.strict)
    whole = WholeImages(pairs.val, make_transform(run.preprocess, net.image_size, net.in_chans), rank=here.rank,
                        world=here.size, strict=run.data.strict)
    return patches, whole


def channel_notes(net: Segmenter, pairs: Pairs) -> tuple[str, ...]:
    """A sentence where images and network differ in channels, and the images are converted."""
    image = next(_readable(pairs.train), None)
    found = net.in_chans if image is None else image[0].shape[0]
    if found == net.in_chans or (found, net.in_chans) == (4, 3):
        return ()
    how = {(1, 3): "grey images are repeated on three channels", (3, 1): "colour images are turned grey"}
    told = how.get((min(found, 3), net.in_chans), f"images have {found} channels")
    return (f"{net.name} takes {net.in_chans} channel(s): {told} (--in-chans {min(found, 3)} builds it for the images "
            "as they are).",)


def _readable(pairs: Masked) -> Iterator[tuple[Tensor, int]]:
    """Images and their places, of those that can be read together with their masks."""
    for index in range(len(pairs)):
        with suppress(UnreadableImage):
            image, _ = pairs.image(index), pairs.classes_of(index)
            yield image, index


def leave_sheet(net: Segmenter, pairs: Pairs, run: Run, where: Path) -> Path:
    """segmentation.png in the run folder: some validation images with truth, prediction and errors."""
    looks = [look(net, image, pairs.val.classes_of(index), name=Path(pairs.val.file_of(index)).name,
                  instances=pairs.val.instances_of(index) if run.loss.border else None, loss=run.loss)
             for image, index in islice(_readable(pairs.val), 4)]
    path = where / "segmentation.png"
    with whole_write(path) as beside:
        draw(looks, pairs.classes).savefig(beside, format="png", dpi=144)
    return path
