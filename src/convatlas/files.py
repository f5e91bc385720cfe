"""Files and folders: where what can be had again is kept, and the mark of a deployed folder."""

import os
from pathlib import Path

DEPLOYED = "deploy.json"        # marks a deployed folder, and is written last


def cache_dir() -> Path:
    """The user's folder for data sets that were downloaded without a `data_dir`, for compiled kernels and for what was measured."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convatlas"


def is_deployed(folder: str | Path) -> bool:
    """Whether `folder` is one that `convatlas deploy` wrote."""
    return (Path(folder).expanduser() / DEPLOYED).is_file()
