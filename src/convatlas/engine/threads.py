"""How many CPU threads a step is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 10_000_000      # multiply-adds of one forward pass


@contextmanager
def threads_for(macs: int, device: torch.device) -> Iterator[None]:
    """Inside, torch uses one CPU thread if a forward pass of `macs` multiply-adds is a small one; after it, as before.

    LeNet-5 at batch 16 is 5 million. There a second thread gains a fifth when nothing else runs, and costs more than half
    as much again, or several times the step, when another program uses the cores too, because threads wait busily for each
    other (benchmarks/threads.py). One thread also gives the same sums, bit for bit, whatever the number of cores.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and macs < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
