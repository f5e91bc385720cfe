"""Workers of a search on a Ray cluster. Needs the extra `ray`.

The ledger in the search's folder deals out trials to whoever asks, so Ray only runs the processes: Ray Tune's own
scheduler would be a second ledger. The folder must lie where all machines see it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ConvatlasError, installing
from ..trials import InterruptedTrialError, heeded

Submit = Callable[[Callable[[Any], None], Any], Future[None]]


@contextmanager
def on_ray(address: str) -> Iterator[Submit]:
    """A function that has another one called by the cluster at `address` ("auto": this machine's; "local": one that is
    begun here), on one processor.

    Ctrl-C, and whatever else is raised here, interrupts each call, which writes a checkpoint and ends. Raises
    ConvatlasError where Ray is not installed or does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ConvatlasError(f"--ray needs Ray, which is not installed: {installing('ray')}") from error
    try:
        ray.init(address, include_dashboard=False if address == "local" else None, log_to_driver=False,
                 ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConvatlasError(f"no Ray cluster answers at {address!r}: {' '.join(str(error).split())}") from error
    remote, calls = ray.remote(num_cpus=1, max_retries=0)(_called), []

    def submit(do: Callable[[Any], None], given: Any) -> Future[None]:
        calls.append(remote.remote(do, given))
        future: Future[None] = calls[-1].future()
        return future

    try:
        yield submit
    except BaseException as error:
        for call in calls:
            ray.cancel(call, force=False)
        ray.wait(calls, num_returns=len(calls), timeout=600)
        if isinstance(error, InterruptedTrialError):
            raise KeyboardInterrupt from None
        raise
    finally:
        ray.shutdown()


def _called(do: Callable[[Any], None], given: Any) -> None:
    torch.set_num_threads(1)
    heeded(do, given)
