"""Memory that is free, as the system and the limit of a container say."""

import os
from collections.abc import Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that can be taken without swapping, the limit of a container included; 0 where the system does not say."""
    found = [_meminfo(Path("/proc/meminfo")), *map(_cgroup, _groups(Path("/proc/self/cgroup"), CGROUPS))]
    return min((each for each in found if each is not None), default=_pages())


def fits(size: int) -> bool:
    """True if so many bytes can be taken, and where the system does not say: what a file claims to need is asked before
    it is given.
    """
    return size <= (available_bytes() or size)


def _groups(path: Path, root: Path) -> set[Path]:
    """Folders of this process's control groups and of those above, of version 2 and of version 1's memory."""
    folders = {root, root / "memory"}       # in a container the groups above are hidden, and its own is the root
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    for _, kinds, name in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if kinds == "" or "memory" in kinds.split(","):
            top = root / "memory" if kinds else root
            own = top / name.lstrip("/")
            folders |= {own, *(parent for parent in own.parents if parent.is_relative_to(top))}
    return folders


def _meminfo(path: Path) -> int | None:
    lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup(folder: Path) -> int | None:
    """Memory left under a control group's limit, in the names of version 2 and of version 1.

    Cached files count as used there; those not touched lately are given back on demand, and so are free.
    """
    for limit, usage, cached in (("memory.max", "memory.current", "inactive_file"),
                                 ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")):
        if (folder / limit).is_file() and (folder / usage).is_file():
            most = (folder / limit).read_text(encoding="utf-8").strip()
            if most == "max":
                return None
            stat = folder / "memory.stat"
            lines = stat.read_text(encoding="utf-8").splitlines() if stat.is_file() else ()
            given_back = next((int(line.split()[1]) for line in lines if line.startswith(f"{cached} ")), 0)
            return max(0, int(most) - int((folder / usage).read_text(encoding="utf-8")) + given_back)
    return None


def _pages() -> int:
    """Free pages, where the system counts them otherwise."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
