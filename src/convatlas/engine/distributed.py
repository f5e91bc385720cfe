"""Distributed training: joining processes (torchrun), agreeing, adding up, spreading a network (DDP, FSDP2)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConvatlasError

TIMEOUT = timedelta(minutes=10)     # how long a process waits for the others before it gives up


@dataclass(frozen=True)
class World:
    """One process among all: `rank` of `size`, computing on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True in the process that shows and writes, rank 0."""
        return self.rank == 0


@contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started, or stand alone where it started none, and leave them at the end.

    Where a process group is there already, Ray Train's or the caller's own, that one is used, and left as it is.
    `device` is auto (cuda, else mps, else cpu), cpu, cuda or mps. Processes on the CPU talk over gloo, those on CUDA
    over NCCL, one GPU each. Raises ConvatlasError for a device that is not there, or when a process of the run is lost.
    """
    joined = dist.is_initialized()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if joined:
        rank, size = dist.get_rank(), dist.get_world_size()
    target = pick(device, int(os.environ.get("LOCAL_RANK", "0")), size)
    if size == 1:
        yield World(0, 1, target)
        return
    if target.type == "cuda":
        torch.cuda.set_device(target)
    try:
        # gloo beside NCCL: what the processes agree on lies on the CPU, so that no GPU is waited for
        if not joined:
            dist.init_process_group("cpu:gloo,cuda:nccl" if target.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise ConvatlasError(
            f"process {rank} of {size} could not join the others; start them together with torchrun ({_line(error)})"
        ) from error
    try:
        here = World(rank, size, target)
        yield here
        agree(here, False)      # nobody hangs up while another still reads what was sent last
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ConvatlasError(
                f"process {rank} of {size} lost another one, whose own message says why; "
                f"start all again with --resume ({_line(error)})"
            ) from error
        raise
    finally:
        if not joined:
            dist.destroy_process_group()


def pick(device: str, local: int = 0, size: int = 1) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `mps` stands for here; `local` numbers the processes of this machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if gpus else "mps" if mps and size == 1 else "cpu"
    there = ", ".join(["cpu", *(["cuda"] if gpus else []), *(["mps"] if mps else [])])
    if device not in ("cpu", "cuda", "mps"):
        raise ConvatlasError(f"there is no device named {device!r}; this machine has {there}")
    if (device == "cuda" and not gpus) or (device == "mps" and not mps):
        raise ConvatlasError(f"PyTorch {torch.__version__} finds no {device} device here; this machine has {there}")
    if device == "mps" and size > 1:
        raise ConvatlasError(f"mps works in one process, torchrun started {size}; use --device cpu or a single process")
    if device == "cuda" and local >= gpus:
        raise ConvatlasError(f"there are more processes than the {gpus} CUDA devices here; use --nproc-per-node {gpus}")
    return torch.device(device, local) if device == "cuda" else torch.device(device)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def agree(world: World, *flags: bool) -> tuple[bool, ...]:
    """Combine each flag by OR over the processes. On the CPU, so that no GPU is waited for."""
    if world.size == 1:
        return flags
    together = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(together, op=dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in together.tolist())


def gather(world: World, rows: Tensor) -> Tensor:
    """Gather the rows (n, …) of all processes, one rank after the other, on the CPU; n may differ between them."""
    rows = rows.cpu().contiguous()
    if world.size == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world.size)]
    dist.all_gather(counts, torch.tensor([len(rows)]))
    longest = max(int(count) for count in counts)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world.size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])


def total(world: World, sums: Tensor) -> Tensor:
    """Add `sums` over all processes in the order of their ranks: the same to the last bit each time. On the CPU."""
    return gather(world, sums[None]).sum(dim=0)


def share_buffers(world: World, model: nn.Module) -> None:
    """Give every process the buffers of rank 0 (BatchNorm's running statistics differ from one to the next)."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def synchronized(model: nn.Module, world: World) -> None:
    """Let the network's BatchNorm layers normalise over the images of all processes (train.sync_bn), in place; on GPUs
    only.
    """
    if world.device.type != "cuda":
        raise ConvatlasError(f"train.sync_bn needs GPUs: PyTorch's SyncBatchNorm does not work on {world.device.type}; "
                             "leave it off, and each process normalises over its own images")
    nn.SyncBatchNorm.convert_sync_batchnorm(model)   # type: ignore[no-untyped-call]


def wrap(world: World, model: nn.Module, parallel: str) -> nn.Module:
    """The module that training calls for `model`: itself, a DDP replica, or itself with its parameters sharded (fsdp).

    FSDP2 shards each child, and each part of a child that is a sequence, as one unit: those are a network's stages.
    """
    if world.size == 1:
        return model
    if parallel == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for child in model.children():
        for unit in child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else (child,):
            if any(True for _ in unit.parameters()):
                fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def local(tensor: Tensor) -> Tensor:
    """The part of the tensor that this process holds: all of it, unless it is sharded."""
    if type(tensor) not in (Tensor, nn.Parameter):
        from torch.distributed.tensor import DTensor  # takes seconds to import

        if isinstance(tensor, DTensor):
            tensor = tensor.to_local()
    return tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, with all its shards; of a sharded tensor all processes ask for it together."""
    if type(tensor) not in (Tensor, nn.Parameter):
        from torch.distributed.tensor import DTensor

        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """The inverse of `whole`: a copy with the device, the memory format and the sharding of `like`."""
    if type(like) not in (Tensor, nn.Parameter):
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(like, DTensor):
            return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def share(world: World, choose: Callable[[], str]) -> str:
    """Broadcast what `choose` returns in the first process; a ConvatlasError of it is raised in all of them."""
    if world.size == 1:
        return choose()
    answer: list[str | None] = [None, None]
    if world.main:
        try:
            answer[0] = choose()
        except ConvatlasError as error:
            answer[1] = str(error)
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise ConvatlasError(answer[1])
    return str(answer[0])
