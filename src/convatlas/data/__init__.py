"""Pictures to learn from: data sets, the way from a picture to the network's input, and batches of it."""

from .cache import Cached, prepared
from .images import Files, ImageSet, Source, Subset, Tensors, UnreadableImage, read_image, to_tensor
from .loader import Batch, Loader
from .source import open_data
from .transform import Transform, make_transform

__all__ = [
    "Batch",
    "Cached",
    "Files",
    "ImageSet",
    "Loader",
    "Source",
    "Subset",
    "Tensors",
    "Transform",
    "UnreadableImage",
    "make_transform",
    "open_data",
    "prepared",
    "read_image",
    "to_tensor",
]
