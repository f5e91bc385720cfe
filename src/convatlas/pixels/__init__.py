"""A picture as bytes of pixels, by NumPy and Pillow: one table of rules (`rules`) for every reader of pictures.

`decode` reads whole files; parts of large ones are read by segment/picture.py, which gives their samples to `colors`.
"""

from PIL import features

from .rules import DIM, NOTES, Decoding, Layout, Range, UnreadableImage, colors, eight_bits, on_white, turned
from .tiff import tiff_layout, tiff_pixels
from .whole import AS_IT_IS, Decoded, check_size, decode, plain, read, to_array, unreadable

# JPEG 2000 and AVIF are not in every Pillow
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
                      ".pgm", ".pbm", ".pnm", ".tga"} | {suffix for suffix, feature in (
                          (".jp2", "jpg_2000"), (".avif", "avif")) if features.check(feature)})

__all__ = ["AS_IT_IS", "DIM", "NOTES", "SUFFIXES", "Decoded", "Decoding", "Layout", "Range", "UnreadableImage",
           "check_size", "colors", "decode", "eight_bits", "on_white", "plain", "read", "tiff_layout", "tiff_pixels",
           "to_array", "turned", "unreadable"]
