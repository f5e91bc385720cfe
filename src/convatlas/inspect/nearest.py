"""The nearest among many vectors on disk: every one is compared, block by block, in memory that does not grow with
their number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConvatlasError, installing

Metric = Literal["euclidean", "cosine"]
Engine = Literal["exact", "faiss"]

BLOCK = 2**25       # floats of a block and of its products with the queries, 128 MiB
SPARE = 16          # candidates beyond those asked for: single precision may put near ones in the wrong order


@dataclass(frozen=True)
class Vectors:
    """`count` vectors of `width` float32 numbers in a file, one after the other."""

    path: Path
    count: int
    width: int

    def blocks(self, rows: int) -> Iterator[tuple[int, Tensor]]:
        """(number of the first, float32 (≤ rows, width)), each mapped into memory only while it is looked at."""
        for start in range(0, self.count, rows):
            yield start, self._mapped(start, min(rows, self.count - start))

    def chosen(self, numbers: Tensor) -> Tensor:
        """The vectors of those numbers, (*numbers.shape, width)."""
        found: Tensor = self._mapped(0, self.count)[numbers]
        return found

    def _mapped(self, start: int, rows: int) -> Tensor:
        # "c", copy on write: torch wants it writable, though nobody writes
        return torch.from_numpy(np.memmap(self.path, np.float32, "c", start * self.width * 4, (rows, self.width)))


def nearest(queries: Tensor, vectors: Vectors, k: int, metric: Metric = "euclidean",
            engine: Engine = "exact") -> tuple[Tensor, Tensor]:
    """The `k` nearest of `vectors` to each of `queries` (Q, width), nearest first: distances float32 and numbers int64,
    (Q, k).

    Euclidean distances, as AlexNet's Figure 4, or one minus the cosine. With fewer vectors than `k` all are given.
    Candidates are found by matrix products in single precision (by `engine`), then measured again in double precision.
    """
    if not vectors.count:
        raise ConvatlasError("there are no vectors to search: the index is empty")
    queries = queries.to(torch.float32)
    if metric == "cosine":
        queries = F.normalize(queries)
    search, keep = _engine(engine), min(k + SPARE, vectors.count)
    scores, numbers = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64,
                                                                      device=queries.device)
    for start, block in vectors.blocks(max(1, BLOCK // (vectors.width + len(queries)))):
        block = block.to(queries.device)
        found = search(queries, block, min(keep, len(block)), metric)
        scores, best = torch.cat([scores, found[0]], 1).topk(min(keep, scores.shape[1] + found[0].shape[1]))
        numbers = torch.cat([numbers, found[1] + start], 1).gather(1, best)
    return _measured(queries.cpu(), vectors, numbers.cpu().sort(1).values, k, metric)


def _measured(queries: Tensor, vectors: Vectors, candidates: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    """The best `k` of the candidates (Q, m) by distances in double precision; of equal ones the lower number comes
    first.
    """
    found, wanted = vectors.chosen(candidates).double(), queries.double()[:, None]
    distances = ((found - wanted).norm(dim=2) if metric == "euclidean"
                 else 1 - (F.normalize(found, dim=2) * wanted).sum(2))
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return distances.gather(1, order).float(), candidates.gather(1, order)


# → scores, higher is nearer, and numbers, (Q, k)
Search = Callable[[Tensor, Tensor, int, Metric], tuple[Tensor, Tensor]]


def _engine(name: Engine) -> Search:
    if name == "exact":
        return _exact
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise ConvatlasError(f"--engine faiss needs faiss: {installing('neighbours')}, or leave --engine "
                             "exact") from error
    return _by_faiss


def _exact(queries: Tensor, block: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    """2q·x − |x|², which orders as −|q − x|² does; or q·x / |x|. Neither makes a copy of the block."""
    lengths = torch.linalg.vector_norm(block, dim=1)
    scores = torch.addmm(-lengths.square(), queries, block.T, alpha=2) if metric == "euclidean" else (
        (queries @ block.T).div_(lengths.clamp_(min=1e-12)))
    best = scores.topk(k)
    return best.values, best.indices


def _by_faiss(queries: Tensor, block: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    import faiss

    if metric == "cosine":      # of vectors of length 1 the distance orders as the cosine does
        block = F.normalize(block)
    squares, numbers = faiss.knn(queries.cpu().numpy(), block.cpu().numpy(), k)
    return -torch.from_numpy(squares).to(queries.device), torch.from_numpy(numbers).to(queries.device)
