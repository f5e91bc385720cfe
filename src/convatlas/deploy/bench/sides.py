"""The sides of a comparison of speed, each in a process of its own: `python -m convatlas.deploy.bench.sides JOB`, JSON
both ways.

A process has its own allocator and its own memory, so the peers run as they would alone, and a crash ends one side
only. `prepare` writes the same weights for all, `deploy` makes ours, and a side that is set up waits on stdin: each
line is a number of seconds to work for.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import ConvatlasError
from ...net.described import names_file
from ...net.model import Convnet, pair
from ...parts import LayerScale
from ...weights import Peer, libraries, peers_of
from ..reader import openvino_core, silent

LIBRARIES, ENGINES = ("timm", "torchvision"), ("compile", "onnxruntime", "openvino", "ncnn", "mnn")
# PLAIN: our network, neither folded nor rewritten, where no library has it
OURS, PLAIN, MATRIX = "ours", "convatlas", "matrix"
# imported before a side is set up
NEEDS = {OURS: ("convatlas.deploy.bundle", "convatlas.arch"), PLAIN: ("convatlas.weights.checkpoints",),
         "timm": ("timm",), "torchvision": ("torchvision",), "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
         "ncnn": ("ncnn", "pnnx"), "mnn": ("MNN", "onnx", "onnxscript")}
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
    return {"compile": by_compile, "onnxruntime": by_onnxruntime, "openvino": by_openvino, "ncnn": by_ncnn,
            "mnn": by_mnn}[name](model, x, folder / f"{of}-{job['batch']}-{name}")


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


# Each engine runs `model` for exactly this batch, on as many threads as torch has. What it writes begins with `path`.


def by_compile(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """By torch.compile with frozen weights."""
    import torch._inductor.config as inductor

    compiled = torch.compile(model, dynamic=False, options={"freezing": True})

    def scores(x: Tensor) -> Tensor:
        with inductor.patch(freezing=True), torch.no_grad():
            out: Tensor = compiled(x)
            return out

    return scores


def _onnx(model: nn.Module, x: Tensor, path: Path) -> Path:
    """`model` through torch's own exporter."""
    file = path.with_name(f"{path.name}.onnx")
    with torch.no_grad():
        torch.onnx.export(model, (x,), str(file), input_names=["image"], output_names=["scores"], dynamo=True,
                          external_data=False, verbose=False)
    return file


def by_onnxruntime(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """By ONNX Runtime, with its own settings."""
    from ..backends.onnx_runtime import open_session  # a peer is measured without it

    file = _onnx(model, x, path)
    session = open_session(file, torch.get_num_threads())
    file.unlink()
    return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])


def by_openvino(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """By OpenVINO through its own conversion, in float32."""
    openvino = silent()
    with torch.no_grad():
        network = openvino.convert_model(torch.export.export(model, (x,)))
    compiled = openvino_core().compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads()})
    return lambda x: torch.from_numpy(compiled(x.numpy())[0].copy())


def by_ncnn(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """By ncnn through pnnx, its converter, in float32, which must be asked for; image by image, as it answers."""
    import ncnn
    import pnnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)      # TorchScript is what pnnx reads
        torch.jit.trace(model, x[:1]).save(f"{path}.pt")    # type: ignore[no-untyped-call]
    subprocess.run([pnnx.EXEC_PATH, f"{path}.pt", f"inputshape={list(x[:1].shape)}".replace(" ", ""), "fp16=0"],
                   check=True, stdout=sys.stderr)
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    for half in ("fp16_storage", "fp16_packed", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{half}", False)
    stem = path.name.replace("-", "_")                      # so pnnx calls its files
    if net.load_param(str(path.with_name(f"{stem}.ncnn.param"))) or net.load_model(
            str(path.with_name(f"{stem}.ncnn.bin"))):
        raise ConvatlasError("ncnn does not load what pnnx wrote")

    def scores(image: Tensor) -> Tensor:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image.numpy()))
        failed, out = extractor.extract("out0")
        if failed:
            raise ConvatlasError(f"ncnn fails with code {failed}")
        return torch.from_numpy(np.array(out))

    return lambda x: torch.stack([scores(image) for image in x])


def by_mnn(model: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """By MNN through ONNX and its own converter, in float32."""
    # the converter itself: its commands, in MNN.tools, install a package and send out what was converted
    import _tools
    import MNN

    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(_onnx(model, x, path)),
                       "--MNNModel", f"{path}.mnn"])
    threads = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": torch.get_num_threads(),
                                              "precision": "high"},))
    net = MNN.nn.load_module_from_file(f"{path}.mnn", ["image"], ["scores"], runtime_manager=threads)

    def scores(x: Tensor) -> Tensor:
        out = net.forward([MNN.expr.const(x.numpy(), list(x.shape), MNN.expr.NCHW)])[0]
        return torch.from_numpy(np.array(out.read())).reshape(len(x), -1)

    return scores


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
        calls = spent(call, x, float(line))
        _say({"times": [wall for wall, _ in calls], "cpu": [cpu for _, cpu in calls], "idle": idle, "memory": _peak()})
        stopped, used = time.perf_counter(), time.process_time()


def turn(call: Callable[[Tensor], Tensor], x: Tensor, seconds: float) -> list[float]:
    """Seconds of each call, for that long."""
    return [wall for wall, _ in spent(call, x, seconds)]


def spent(call: Callable[[Tensor], Tensor], x: Tensor, seconds: float) -> list[tuple[float, float]]:
    """Seconds of each call, for that long: on the wall's clock, and of all cores.

    A short first call is not counted: the caches hold another process's data.
    """
    def once() -> tuple[float, float]:
        before, used = time.perf_counter(), time.process_time()
        call(x)
        return time.perf_counter() - before, time.process_time() - used

    calls: list[tuple[float, float]] = []
    began = time.perf_counter()
    while not calls or time.perf_counter() - began < seconds:
        calls.append(once())
        if len(calls) == 1 and calls[0][0] < seconds / 2:
            calls[0] = once()
    return calls


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
    torch.set_num_threads(asked.get("threads") or torch.get_num_threads())
    try:
        {"prepare": lambda job: _say(prepare(job)), "make": lambda job: _say(make(job)),
         "answer": answer}[asked["do"]](asked)
    except ConvatlasError as problem:
        _say({"problem": str(problem)})
    except Exception as problem:    # whatever an engine raises is this side's result
        _say({"problem": f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"})
