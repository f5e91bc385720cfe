"""How many CPU threads a step is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 50_000_000      # multiply-adds of one forward pass, below which threads wait for each other more than they help


@contextmanager
def threads_for(macs: int, device: torch.device) -> Iterator[None]:
    """Inside, torch uses one CPU thread if a forward pass of `macs` multiply-adds is a small one; after it, as before.

    LeNet-5 at batch 16 is 5 million: its layers end before a second thread has begun, and where another program uses the
    cores too, the threads' busy waiting makes a step many times slower (benchmarks/threads.py).
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and macs < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
