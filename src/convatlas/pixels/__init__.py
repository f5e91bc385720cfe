"""A picture as bytes of pixels, by NumPy and Pillow: one table of rules (`rules`) for every reader of pictures.

`decode` reads whole files; parts of large ones are read by segment/picture.py, which gives their samples to `colors`.
"""

from .rules import DIM, NOTES, Decoding, Layout, Range, UnreadableImage, colors, eight_bits, on_white, turned
from .tiff import tiff_layout, tiff_pixels
from .whole import AS_IT_IS, Decoded, check_size, decode, plain, read, to_array, unreadable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})

__all__ = ["AS_IT_IS", "DIM", "NOTES", "SUFFIXES", "Decoded", "Decoding", "Layout", "Range", "UnreadableImage",
           "check_size", "colors", "decode", "eight_bits", "on_white", "plain", "read", "tiff_layout", "tiff_pixels",
           "to_array", "turned", "unreadable"]
