"""Where what can be had again is kept."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The user's folder for data sets that were downloaded without a `data_dir`, for compiled kernels and for what was measured."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convatlas"
