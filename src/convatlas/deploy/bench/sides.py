"""The sides of a comparison of speed, each in a process of its own: `python -m convatlas.deploy.bench.sides JOB`, JSON
both ways.

A process has its own allocator and its own memory, so the peers run as they would alone, and a crash ends one side
only. `prepare` writes the same weights for all, `deploy` makes ours, and a side that is set up waits on stdin: each
line is a number of seconds to work for.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import ConvatlasError
from ...net.described import names_file
from ...net.model import Convnet, pair
from ...parts import LayerScale
from ...weights import Peer, libraries, peers_of
from ..reader import openvino_core, silent

LIBRARIES, ENGINES = ("timm", "torchvision"), ("compile", "onnxruntime", "openvino")
# PLAIN: our network, neither folded nor rewritten, where no library has it
OURS, PLAIN, MATRIX = "ours", "convatlas", "matrix"
# imported before a side is set up
NEEDS = {OURS: ("convatlas.deploy.bundle", "convatlas.arch"), PLAIN: ("convatlas.weights.checkpoints",),
         "timm": ("timm",), "torchvision": ("torchvision",), "onnxruntime": ("onnx", "onnxscript", "onnxruntime")}
Job = Mapping[str, Any]


# -- before the comparison ---------------------------------------------------------------------------------------------


def prepare(job: Job) -> dict[str, Any]:
    """Write the network's weights as ours and as the library's own model takes them; returns what is known of it."""
    from ...net.layers import macs  # a peer is measured without it
    from ...weights.checkpoints import convert_weights, save  # a peer is measured without it

    folder = Path(job["folder"])
    net, peers = chosen(job["model"], job["libraries"])
    size = pair(job["image_size"] or net.image_size)
    net.check_image_size(size)
    save(net, folder / "ours.safetensors")
    for library in peers:
        convert_weights(folder / "ours.safetensors", folder / f"{library}.safetensors", library)     # type: ignore[arg-type]
    return {"name": net.name, "size": size, "channels": net.in_chans, "classes": net.num_classes,
            "macs": macs(net, size),
            "peers": {library: {"name": peer.name, "kwargs": dict(peer.kwargs)} for library, peer in peers.items()}}


def chosen(text: str, wanted: list[str]) -> tuple[Convnet, dict[str, Peer]]:
    """The network in eval mode, and the model that is the same in each of the libraries that has one.

    A run folder or a file has its weights. A name is built with the fields that make it the library's, and newly
    initialised so that every layer does something.
    """
    from ...net import registry  # a peer is measured without it
    from ...weights.checkpoints import load  # a peer is measured without it
    from ...zoo import create_model  # a peer is measured without it

    path = Path(text).expanduser()
    own = names_file(text)
    stored = load(path) if not own and (path.exists() or path.suffix or len(path.parts) > 1) else None
    variant = registry.variant(text if stored is None else stored.name)
    if variant.segments:
        raise ConvatlasError(f"{variant.name} segments, and bench compares networks that classify")
    offered = {library: [peer for peer in peers_of(variant.family, library) if peer.ours == variant.name]
               for library in wanted if not own and library in libraries(variant.family)}
    if stored is None:
        fields = next((peers[0].fields for peers in offered.values() if peers), {})
        torch.manual_seed(0)
        stored = settled(create_model(text, **fields))
    spec = registry.plain(stored.spec)
    same = {library: next((peer for peer in peers if all(spec[key] == value for key, value in peer.fields.items())),
                          None) for library, peers in offered.items()}
    return stored.eval(), {library: peer for library, peer in same.items() if peer is not None}


def settled(model: Convnet) -> Convnet:
    """`model` with factors and offsets other than 1 and 0, and BatchNorm's statistics those of a random batch.

    A newly initialised network would be no test: its branches may be scaled to nothing, its maps vanish or overflow.
    """
    dice = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=dice)
            nn.init.normal_(module.bias, std=0.1, generator=dice)
        elif isinstance(module, LayerScale):
            nn.init.uniform_(module.gamma, 0.1, 0.3, generator=dice)
    model.eval()
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        with torch.no_grad():
            model(torch.randn(4, model.in_chans, *model.image_size, generator=dice))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return model.eval()


def make(job: Job) -> dict[str, Any]:
    """Ours, as `convatlas deploy` writes it for this batch; returns what it measured."""
    from dataclasses import asdict

    from ..bundle import deploy  # a peer is measured without it

    folder = Path(job["folder"])
    os.environ["XDG_CACHE_HOME"] = str(folder)      # what an earlier run found fastest does not count
    report = deploy(folder / "ours.safetensors", folder / f"ours-{job['batch']}", job["backend"], batch=job["batch"],
                    image_size=tuple(job["size"]), candidates=job["candidates"], force=True)
    return asdict(report)


# -- a side ------------------------------------------------------------------------------------------------------------


def images(job: Job) -> Tensor:
    """The batch that all sides are given."""
    return torch.randn(job["batch"], job["channels"], *job["size"], generator=torch.Generator().manual_seed(1))


def side(job: Job) -> Callable[[Tensor], Tensor]:
    """A callable that answers: ours, a library's model as its user gets it, an engine on that model, or the matrix
    product.
    """
    name, folder = job["side"], Path(job["folder"])
    if name == MATRIX:
        from ..machine import matrix_product  # a peer is measured without it

        product = matrix_product()
        return lambda _: product()
    if name == OURS:
        from ..bundle import deployed  # a peer is measured without it

        return deployed(folder / f"ours-{job['batch']}", "cpu")
    of = job["of"] if name in ENGINES else name
    model, x = theirs(of, job), images(job)
    if name not in ENGINES:
        return lambda x: _quietly(model, x)
    if name == "compile":
        import torch._inductor.config as inductor

        compiled = torch.compile(model, dynamic=False, options={"freezing": True})

        def scores(x: Tensor) -> Tensor:
            with inductor.patch(freezing=True), torch.no_grad():
                out: Tensor = compiled(x)
                return out

        return scores
    return (by_onnxruntime(model, x, folder / f"{of}-{job['batch']}.onnx") if name == "onnxruntime"
            else by_openvino(model, x))


def theirs(library: str, job: Job) -> nn.Module:
    """The library's own model with the weights, in eval mode; for PLAIN it is ours, as trained."""
    folder = Path(job["folder"])
    if library == PLAIN:
        from ...weights.checkpoints import load  # a peer is measured without it

        return load(folder / "ours.safetensors")
    known = job["peers"][library]
    model: nn.Module
    if library == "timm":
        import timm

        model = timm.create_model(known["name"], num_classes=job["classes"], in_chans=job["channels"],
                                  **known["kwargs"])
    else:
        import torchvision

        model = torchvision.models.get_model(known["name"], weights=None, num_classes=job["classes"], **known["kwargs"])
    missing = model.load_state_dict(load_file(folder / f"{library}.safetensors"), strict=False).missing_keys
    unfilled = [name for name in missing
                if not name.endswith("num_batches_tracked") and not name.lower().startswith("aux")]
    if unfilled:
        raise ConvatlasError(f"{library}'s {known['name']} lacks {unfilled[0]}")
    return model.eval()


def _quietly(model: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        out: Tensor = model(x)
        return out


def by_onnxruntime(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """`model` through torch's own exporter, for exactly this batch, with the runtime's own settings; `path` is written
    and removed.
    """
    from ..backends.onnx_runtime import open_session  # a peer is measured without it

    with torch.no_grad():
        torch.onnx.export(model, (x,), str(path), input_names=["image"], output_names=["scores"], dynamo=True,
                          external_data=False, verbose=False)
    session = open_session(path, torch.get_num_threads())
    path.unlink()
    return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])


def by_openvino(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """`model` through OpenVINO's own conversion, for exactly this batch, in float32."""
    openvino = silent()
    with torch.no_grad():
        network = openvino.convert_model(torch.export.export(model, (x,)))
    compiled = openvino_core().compile_model(network, "CPU",
                                             {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
    return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


# -- the process -------------------------------------------------------------------------------------------------------


def answer(job: Job) -> None:
    """Import what the side needs; at the first line of stdin set it up and keep its scores; then work for as long as a
    line says.
    """
    if job["side"] == "openvino":
        silent()
    for package in NEEDS.get(job["side"], ()) + NEEDS.get(job["of"] if job["side"] in ENGINES else "", ()):
        import_module(package)
    _say({"ready": True})
    sys.stdin.readline()
    began, x = time.perf_counter(), images(job)
    call = side(job)
    scores = call(x)
    setup = time.perf_counter() - began
    if job["side"] != MATRIX:
        save_file({"scores": scores.detach().contiguous()},
                  Path(job["folder"]) / f"{job['side']}-{job['batch']}.scores")
    del scores
    _say({"setup": setup})
    _forget_peak()
    stopped, used = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        idle = (time.process_time() - used) / max(time.perf_counter() - stopped, 1e-9)
        times = turn(call, x, float(line))
        _say({"times": times, "idle": idle, "memory": _peak()})
        stopped, used = time.perf_counter(), time.process_time()


def turn(call: Callable[[Tensor], Tensor], x: Tensor, seconds: float) -> list[float]:
    """Seconds of each call, for that long.

    A short first call is not counted: the caches hold another process's data.
    """
    times: list[float] = []
    began = time.perf_counter()
    while not times or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - before)
        if len(times) == 1 and times[0] < seconds / 2:
            times[0] = call_again(call, x)
    return times


def call_again(call: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Seconds of one call."""
    before = time.perf_counter()
    call(x)
    return time.perf_counter() - before


def _forget_peak() -> None:
    """Reset the system's count of peak memory, where it can be reset: set-up is not to count."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int | None:
    """The most bytes of memory that this process held; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _say(tree: Any) -> None:
    ANSWERS.write(json.dumps(tree) + "\n")
    ANSWERS.flush()


if __name__ == "__main__":
    ANSWERS = os.fdopen(os.dup(1), "w")     # what libraries print must not come between: it goes to stderr
    os.dup2(2, 1)
    asked = json.loads(sys.argv[1])
    try:
        {"prepare": lambda job: _say(prepare(job)), "make": lambda job: _say(make(job)),
         "answer": answer}[asked["do"]](asked)
    except ConvatlasError as problem:
        _say({"problem": str(problem)})
    except Exception as problem:    # whatever an engine raises is this side's result
        _say({"problem": f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"})
