"""The screen kept free of what Pillow and libtiff print: what matters of it is told in our own sentences."""

import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

for _name in ("PIL", "tifffile"):       # without a handler Python prints what they log
    logging.getLogger(_name).addHandler(logging.NullHandler())
for _kind in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", module=r"PIL\.", category=_kind)

# "ZIPDecode: …", "TIFFFillStrip: …", "tempfile.tif: …", and of tags "TIFFFetchNormalTag: …"
_LIBTIFF = re.compile(rb"(_?TIFF\w+|\w*Decode\w*|\w*Lib|LogLuv\w*|PixarLog\w*|tempfile\.tif): ")
_TAGS = re.compile(rb"_?TIFF(Fetch|Read|Get)")
_one = threading.Lock()
if sys.platform != "win32":     # no process begins while the screen is another file
    os.register_at_fork(before=_one.acquire, after_in_parent=_one.release, after_in_child=_one.release)


@contextmanager
def hushed(said: list[str]) -> Iterator[None]:
    """Catch libtiff's complaints about pixels in `said`, which is filled in the end.

    It writes them to file descriptor 2, which is a file meanwhile; others' lines are written on afterwards.
    """
    with _one, tempfile.TemporaryFile() as kept:
        try:
            screen = os.dup(2)
        except OSError:         # there is none
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            kept.seek(0)
            lines = kept.readlines()
            said += [line.decode(errors="replace").strip() for line in lines
                     if _LIBTIFF.match(line) and not _TAGS.match(line)]
            if others := b"".join(line for line in lines if not _LIBTIFF.match(line)):
                os.write(2, others)
