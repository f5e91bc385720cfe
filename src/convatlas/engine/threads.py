"""CPU threads and memory layout, both by the size of a step: small networks gain from neither."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 10_000_000      # multiply-adds of one forward pass of a batch


def small(macs: int, device: torch.device) -> bool:
    """True for a small step on the CPU: a forward pass of a process's whole batch takes `macs` multiply-adds."""
    return device.type == "cpu" and macs < SMALL


def resolve_layout(setting: bool | None, macs: int, device: torch.device) -> bool:
    """Resolve `train.channels_last`; None decides by the device and the network.

    On the CPU a step is then 1.1 to 1.7 times as fast (benchmarks/train_step.py), except for small networks, whose step
    hardly changes. On MPS nobody measured it, so it stays off there.
    """
    return setting if setting is not None else device.type in ("cpu", "cuda") and not small(macs, device)


@contextmanager
def threads_for(macs: int, device: torch.device) -> Iterator[None]:
    """A context in which torch uses one CPU thread if the step is `small`; after it, as many as before.

    LeNet-5 at batch 16 is 5 million. There a second thread gains a fifth when nothing else runs, and costs more than
    half as much again, or several times the step, when another program uses the cores too, because threads wait busily
    for each other (benchmarks/threads.py). One thread also gives the same sums, bit for bit, whatever the number of
    cores.
    """
    before = torch.get_num_threads()
    if small(macs, device):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
