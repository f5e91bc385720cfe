"""The C allocator, told to keep freed memory between steps where giving it back costs time."""

import ctypes
import platform
import sys
from functools import cache
from typing import Literal

import torch

from .threads import small

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8      # glibc's malloc.h: what can be set, by number


def use(setting: Literal["auto", "system", "keep"], macs: int, device: torch.device) -> Literal["system", "keep"]:
    """Set up the process as `train.allocator` says, before large tensors are made; returns the setting in force.

    `macs` are the multiply-adds of one process's forward pass of a batch. auto: keep on the CPU, unless that is small.
    Where the C library is not glibc (macOS, Windows, musl) it is "system". What is once kept is kept until the process
    ends.
    """
    wanted = setting == "keep" or (setting == "auto" and device.type == "cpu" and not small(macs, device))
    return "keep" if wanted and keep() else "system"


def has_glibc() -> bool:
    """True on Linux with glibc, where there is something to set up."""
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


@cache
def keep() -> bool:
    """Let glibc keep freed memory instead of giving it back to the system; False, and nothing done, without glibc.

    By default every large tensor is mapped anew, in every step, or the free top of the heap is given back between two:
    the system must then clear all its pages again, one page fault each. The price: the process holds the most memory it
    ever needed.
    """
    if not has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena, for those of other threads than the main one hold at most 64 MB per piece. Free memory at its top is
    # never given back (-1). Nothing is mapped by itself: a mere threshold is refused above 32 MB before glibc 2.35.
    return all([mallopt(M_ARENA_MAX, 1), mallopt(M_TRIM_THRESHOLD, -1), mallopt(M_MMAP_MAX, 0)])
