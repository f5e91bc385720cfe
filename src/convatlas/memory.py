"""Memory that is free, as the system and the limit of a container say."""

import os
from collections.abc import Sequence
from pathlib import Path


def available_bytes() -> int:
    """Memory that can be taken without swapping, the limit of a container included; 0 where the system does not say."""
    found = [_meminfo(Path("/proc/meminfo")), *(_cgroup(Path(folder))
                                                for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"))]
    return min((each for each in found if each is not None), default=_pages())


def fits(size: int) -> bool:
    """True if so many bytes can be taken, and where the system does not say: what a file claims to need is asked before
    it is given.
    """
    return size <= (available_bytes() or size)


def _meminfo(path: Path) -> int | None:
    lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup(folder: Path) -> int | None:
    """Memory left under a control group's limit, in the names of version 2 and of version 1."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        if (folder / limit).is_file() and (folder / usage).is_file():
            most = (folder / limit).read_text(encoding="utf-8").strip()
            return None if most == "max" else max(0, int(most) - int((folder / usage).read_text(encoding="utf-8")))
    return None


def _pages() -> int:
    """Free pages, where the system counts them otherwise."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
