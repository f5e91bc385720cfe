"""A batch cut into equal parts that the cores answer side by side.

None then waits for another at the end of every layer, and the maps of a small part stay in a core's own cache.
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import bounded
from ...files import put

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]
FILE = "parts.json"         # beside the engine's file: what was found fastest, and for what
CALLS = 3                   # of each way that is tried


def ways(batch: int, threads: int) -> list[int]:
    """Possible sizes of a part: the whole batch; else those that give every thread equally many parts."""
    shared = [part for part in (batch // threads, 4, 1) if part and threads > 1 and batch % (part * threads) == 0]
    return [batch, *dict.fromkeys(shared)] if batch > threads else [batch]


def tune(make: Callable[[int], Run], images: Floats, threads: int, folder: Path) -> None:
    """Try every way on these images, in turns, and leave in `folder` which was fastest; `make` gives the engine for a
    part's size.
    """
    found = ways(len(images), threads)
    (folder / FILE).unlink(missing_ok=True)         # another network's, where a folder is written anew
    if len(found) == 1:
        return
    runs = {part: make(part) for part in found}
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(CALLS):
        for part, run in runs.items():
            began = time.perf_counter()
            run(images)
            best[part] = min(best[part], time.perf_counter() - began)
    fastest = min(best, key=best.__getitem__)
    put(folder / FILE, json.dumps({"batch": len(images), "threads": threads, "part": fastest}) + "\n")


def tuned(folder: Path, threads: int) -> Mapping[int, int]:
    """Batch → images in a part, as `tune` found it for so many threads; what is not in it is not cut."""
    try:
        kept = bounded.read_json(folder / FILE)
        return {int(kept["batch"]): int(kept["part"])} if kept["threads"] == threads else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def by_openvino(compile_model: Callable[..., Any], network: Any, shape: tuple[int, ...], threads: int,
                part: int) -> Run:
    """`network` for images of this shape; parts go to one-thread streams. `compile_model` takes it and their number."""
    network.reshape([part, *shape[1:]])
    if part == shape[0]:
        whole = compile_model(network)
        return lambda x: np.array(whole(x)[0])
    compiled = compile_model(network, threads)
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def scores(x: Floats) -> Floats:
        parts, results = np.split(x, len(x) // part), []
        for i, each in enumerate(parts):
            if i >= threads:
                results.append(_result(requests[i % threads]))
            requests[i % threads].start_async({0: each}, share_inputs=True)
        results += [_result(requests[i % threads]) for i in range(len(parts) - threads, len(parts))]
        return np.concatenate(results)

    return scores


def _result(request: Any) -> Floats:
    request.wait()
    return np.array(request.get_output_tensor(0).data)


def by_onnxruntime(open_session: Callable[[int], Any], threads: int, part: int | None) -> Run:
    """A session of all threads; or, with `part`, one of one thread, which as many threads of ours use at a time.

    `open_session` opens one for so many threads.
    """
    session = open_session(1 if part else threads)

    def run(x: Floats) -> Floats:
        out: Floats = session.run(None, {"image": x})[0]
        return out

    if not part:
        return run
    pool = ThreadPoolExecutor(threads, thread_name_prefix="onnxruntime")

    # a batch of another size has a smaller last part, and at least one for each thread
    def scores(x: Floats) -> Floats:
        size = min(part, max(1, len(x) // threads))
        return np.concatenate(list(pool.map(run, [x[start:start + size] for start in range(0, len(x), size)])))

    return scores
