"""How many CPU threads a step is worth, and which networks are small enough for other rules than the rest."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 10_000_000      # multiply-adds of one forward pass of a batch


def small(macs: int, device: torch.device) -> bool:
    """Whether a forward pass of `macs` multiply-adds, the whole batch of one process, is a small one for the CPU."""
    return device.type == "cpu" and macs < SMALL


def resolve_layout(setting: bool | None, macs: int, device: torch.device) -> bool:
    """Whether images and weights lie channels-last; `None` decides by the device and the network.

    On the CPU a step is then 1.1 to 1.7 times as fast (benchmarks/train_step.py), except for small networks, whose step hardly
    changes. On MPS nobody measured it, so it stays off there.
    """
    return setting if setting is not None else device.type in ("cpu", "cuda") and not small(macs, device)


@contextmanager
def threads_for(macs: int, device: torch.device) -> Iterator[None]:
    """Inside, torch uses one CPU thread if a forward pass of `macs` multiply-adds is a small one; after it, as before.

    LeNet-5 at batch 16 is 5 million. There a second thread gains a fifth when nothing else runs, and costs more than half
    as much again, or several times the step, when another program uses the cores too, because threads wait busily for each
    other (benchmarks/threads.py). One thread also gives the same sums, bit for bit, whatever the number of cores.
    """
    before = torch.get_num_threads()
    if small(macs, device):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
