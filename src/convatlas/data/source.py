"""Opens what `--data` names: data that comes along or is known by name, a folder of images, an `.npz`, or shards."""

from dataclasses import replace
from pathlib import Path

from ..errors import ConvatlasError, nearest
from ..files import escaped
from ..run import Data
from .arrays import read_npz
from .embedded import EMBEDDED, same_name
from .image_folder import read_folder
from .images import Files, ImageSet, Source, Subset, Tensors, UnreadableImage
from .named import NAMED, read_named
from .shards.local import is_shards, read_shards
from .shards.stream import is_stream, open_stream
from .split import Split

__all__ = ["Files", "ImageSet", "Source", "Subset", "Tensors", "UnreadableImage", "open_data"]


def open_data(config: Data, *, seed: int = 0, for_eval: bool = False) -> Source:
    """The data that `config.source` names.

    Parts of its own stay what they are: `val` holds the validation part, or the test part where there is no other, and
    `test` the test part. Data without parts is split by `seed`, stratified, `config.val_fraction` of it being held out;
    with `for_eval` nothing is held out, and `train` and `val` are all of it. `for_eval` also allows a single class, and
    data that has a test part only. Raises ConvatlasError where the data is absent, empty, damaged or of another layout.
    """
    found = _opened(config, Split(config.val_fraction, seed, for_eval))
    return replace(found, name=escaped(found.name))     # it goes into weights, whose texts are UTF-8


def _opened(config: Data, split: Split) -> Source:
    if config.source in EMBEDDED:
        along = EMBEDDED[config.source]()
        return replace(along, notes=(*along.notes, *same_name(config.source)))
    if config.source in NAMED:
        return read_named(config.source, config.data_dir, config.download, split)
    if is_stream(config.source):
        return open_stream(config.source, split)
    path = Path(config.source).expanduser()
    if path.is_dir():
        try:
            return read_shards(path, split) if is_shards(path) else read_folder(path, split)
        except OSError as error:
            raise ConvatlasError(f"cannot read the folder {config.source!r}: {error}") from error
    if path.suffix == ".npz":
        return read_npz(path, split)
    names = (*EMBEDDED, *NAMED)
    what = "is neither a folder of images nor an .npz" if path.exists() else "is no folder, no .npz and no known name"
    raise ConvatlasError(
        f"data {config.source!r} {what}; known are {', '.join(names)}{nearest(config.source, names)}"
    )
