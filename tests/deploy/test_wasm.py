"""The kernels as WebAssembly: the network's scores and maps, in wasmtime and in node; the folder for browsers."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from test_native import NETWORKS, network
from test_native_bytes import network as of_bytes
from test_native_bytes import whole

import convatlas
from convatlas.deploy import deploy
from convatlas.deploy.graph.rewrite import rewrite
from convatlas.deploy.native import Network, wasm
from convatlas.deploy.native.plan import plan
from convatlas.deploy.native.stored import STEPS, WEIGHTS, put_plan
from convatlas.deploy.native.work import written
from convatlas.deploy.reader import prepared
from laws import build as variant
from parity import randomized

WEB = Path(wasm.__file__).parents[1] / "web"
NODE = shutil.which("node")


@pytest.fixture(scope="session")
def module():
    pytest.importorskip("wasmtime", reason="wasmtime is not installed")
    if reason := wasm.missing():
        pytest.skip(reason)
    return wasm.module()


def files(net, size, folder: Path, half: bool = False) -> tuple[bytes, bytes]:
    put_plan(folder, plan(net, size), half=half)
    return (folder / STEPS).read_bytes(), (folder / WEIGHTS).read_bytes()


def in_node(script: str, *values: object) -> str:
    if NODE is None:
        pytest.skip("node is not here")
    script = (f"const convatlas = require({json.dumps(str(WEB / 'convatlas.js'))}), "
              f"given = {json.dumps(values)};\n{script}")
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- without the module ------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused(tmp_path, monkeypatch):
    model = variant("lenet5")
    with pytest.raises(convatlas.ConvatlasError, match="wasm has no bf16"):
        deploy(model, tmp_path / "a", "wasm", "bf16")
    monkeypatch.setattr(wasm, "SHIPPED", tmp_path / "none")
    monkeypatch.setattr(wasm, "find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(convatlas.ConvatlasError, match="pip install ziglang"):
        deploy(model, tmp_path / "a", "wasm")
    assert not (tmp_path / "a").exists()


def test_the_script_prepares_pictures_as_predict_does():
    """Byte for byte: sizes that shrink, grow and are padded, grey from colours, three filters."""
    cases = [(40, 61, 3, 24, 24, "bilinear"), (61, 40, 1, 32, 28, "bilinear"), (9, 13, 3, 32, 32, "bicubic"),
             (50, 47, 3, 16, 20, "bicubic"), (28, 28, 1, 28, 32, "bilinear"), (33, 20, 1, 16, 16, "nearest")]
    dice, asked, expected = np.random.default_rng(0), [], []
    for high, wide, channels, resize, size, interpolation in cases:
        pixels = dice.integers(0, 256, (high, wide, 3), np.uint8)
        about = {"channels": channels, "resize": [resize, resize], "size": [size, size], "mean": [0.25], "std": [0.5],
                 "interpolation": interpolation}
        expected.append(prepared(pixels, about))
        rgba = np.concatenate([pixels, np.full((high, wide, 1), 255, np.uint8)], 2)
        loss = {"name": "cross_entropy"}
        asked.append([rgba.reshape(-1).tolist(), wide, high, {"input": about, "classes": [], "loss": loss}])
    said = in_node("console.log(JSON.stringify(given.map(([pixels, w, h, about]) => "
                   "[...convatlas.prepared(pixels, w, h, about.input.channels, about.input)])))", *asked)
    for found, wanted in zip(json.loads(said), expected, strict=True):
        assert np.array_equal(np.array(found, np.float32), wanted.reshape(-1))


def test_shares_are_those_of_predict():
    scores = np.random.default_rng(0).normal(size=(1, 7)).astype(np.float32)
    from convatlas.deploy.reader import probabilities

    for loss in ("mse", "bce", "cross_entropy"):
        said = in_node("console.log(JSON.stringify([...convatlas.shares(Float32Array.from(given[0]), given[1])]))",
                       scores[0].tolist(), loss)
        assert json.loads(said) == pytest.approx(probabilities(scores, loss)[0].tolist(), abs=1e-6)


# -- the module: ten seconds of compiling, a minute where zig has compiled nothing yet ---------------------------------


@pytest.mark.slow
def test_the_module_is_small_and_asks_for_nothing_but_to_refuse(module):
    import wasmtime

    found = wasmtime.Module(wasmtime.Engine(), module)
    assert [(each.module, each.name) for each in found.imports] == [("convatlas", "refuse")]
    assert len(module) <= 600_000 and len(gzip.compress(module, 9)) <= 130_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_step_gives_torch_s_result(module, name, tmp_path):
    net = network(name, False).eval()
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 12, 11), np.float32))
    with torch.inference_mode():
        expected = net(x).numpy()
    found = wasm.Machine(*files(net, (3, 12, 11), tmp_path))(x.numpy())
    assert np.abs(found - expected.reshape(2, -1)).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [
    ("lenet5", None), ("lecun1989_zipcode", None), ("alexnet", 80), ("googlenet", 64), ("resnet18", 64),
    ("mobilenet_v2", 64), ("efficientnet_b0", 64), ("convnext_tiny", 64), ("densenet_40_12_cifar", None),
    ("unet_same", 64), ("fcn8s", 64), ("repvgg_a0", 64)])
def test_whole_networks_give_torch_s_result(module, name, size, tmp_path):
    try:
        net = randomized(variant(name) if size is None else convatlas.create_model(name, image_size=size)).eval()
    except convatlas.ConvatlasError as error:
        pytest.skip(str(error))
    x = torch.randn(2, net.in_chans, *net.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = net(x).reshape(2, -1).numpy()
    found = wasm.Machine(*files(rewrite(net), tuple(x.shape[1:]), tmp_path))(x.numpy())
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_maps_are_those_of_the_layers(module, tmp_path):
    """Of each convolution and of LRN, by name; and none has been overwritten by a later one."""
    net = rewrite(randomized(convatlas.create_model("alexnet", image_size=80)).eval())
    works = plan(net, (3, 80, 80))
    machine = wasm.Machine(*files(net, (3, 80, 80), tmp_path), maps=True)
    x = torch.randn(1, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    machine(x.numpy())
    seen = {}
    for name, layer in net.named_modules():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
    with torch.inference_mode():
        net(x)
    compared = 0
    for i, work in enumerate(works):
        out = next((out for name, out in seen.items() if name.replace(".", "_") == work.name), None)
        if out is None or work.result.buffer is None:
            continue
        found = machine.map_of(i, work.result.c * work.result.h * work.result.w)
        wanted = (out.relu() if work.activation == "relu" else out).reshape(-1).numpy()
        assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max()), work.name
        compared += 1
    assert compared >= 8


@pytest.mark.slow
def test_half_precision_is_that_of_numpy(module, tmp_path):
    """All finite halves, by a 1×1 convolution that hands its weight on."""
    halves = np.arange(2 ** 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][: 63488 // 16 * 16].reshape(-1, 1, 1, 1)
    conv = torch.nn.Conv2d(1, len(halves), 1, bias=False)
    conv.weight.data = torch.from_numpy(halves.astype(np.float32))
    machine = wasm.Machine(*files(torch.nn.Sequential(conv), (1, 1, 1), tmp_path, half=True))
    found = machine(np.ones((1, 1, 1, 1), np.float32))
    assert np.array_equal(found.reshape(-1), halves.astype(np.float32).reshape(-1))


@pytest.mark.slow
@pytest.mark.parametrize(("edit", "reason"), [
    (lambda text: text[:-300], "no JSON"), (lambda text: text.replace('"groups": 1', '"groups": 3'), "is none"),
    (lambda text: text.replace('"kind": "conv"', '"kind": "jump"'), "there is no 'jump'")])
def test_files_that_would_lead_astray_are_refused(module, tmp_path, edit, reason):
    steps, weights = files(network("square"), (3, 12, 11), tmp_path)
    with pytest.raises(convatlas.ConvatlasError, match=reason):
        wasm.Machine(edit(steps.decode()).encode(), weights)
    with pytest.raises(convatlas.ConvatlasError, match="not where it should be"):
        wasm.Machine(steps, weights[:-40])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_folder_answers_in_node_as_here(module, precision, tmp_path, own_cache):
    """The README's program runs as it is printed; `convatlas predict` answers from the folder too."""
    from PIL import Image

    report = deploy("lenet5.digits", tmp_path / "net", "wasm", precision,
                    calibrate="digits" if precision == "int8" else None)
    assert report.chosen == "wasm"
    folder = tmp_path / "net"
    (program,) = re.findall(r"```js\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    rgba = np.concatenate([np.repeat(pixels[:, :, None], 3, 2), np.full((28, 28, 1), 255, np.uint8)], 2)
    program = program.replace("new Uint8Array(4 * net.width * net.height)", json.dumps(rgba.reshape(-1).tolist()))
    program = program.replace("net.width, net.height)", "28, 28)").replace(
        "console.log(scores.slice(0, net.classes))", "console.log(JSON.stringify([...net.shares(scores)]))")
    if NODE is None:
        pytest.skip("node is not here")
    done = subprocess.run([NODE, "-"], input=program, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout)
    for model in ("lenet5.digits", folder):
        (found,) = convatlas.predict(model, [tmp_path / "a.png"], top_k=10)
        expected = dict(zip(found.classes, found.probabilities, strict=True))
        off = 1e-4 if model == folder or precision == "fp32" else 1e-2 if precision == "fp16" else 0.05
        assert shares == pytest.approx([expected[str(i)] for i in range(10)], abs=off)


@pytest.mark.slow
def test_steps_on_bytes_give_the_native_kernels_bits(module, tmp_path):
    works, x = whole(of_bytes("gates"), (3, 13, 11))
    put_plan(tmp_path, works)
    machine = wasm.Machine((tmp_path / STEPS).read_bytes(), (tmp_path / WEIGHTS).read_bytes())
    assert np.array_equal(machine(x), Network(works, 1)(x))


def test_plans_keep_their_numbers_in_half(tmp_path):
    """Half the bytes; the steps are the same."""
    net = network("square")
    whole, half = ((put_plan(tmp_path, plan(net, (3, 12, 11)), half=half), json.loads((tmp_path / STEPS).read_bytes()),
                    (tmp_path / WEIGHTS).stat().st_size) for half in (False, True))
    assert whole[1]["steps"] == half[1]["steps"]
    arrays = written(plan(net, (3, 12, 11)))[1]
    assert whole[2] == len(save(arrays)) and half[2] < 0.7 * whole[2]
