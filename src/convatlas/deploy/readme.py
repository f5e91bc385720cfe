"""The page in a deployed folder: what it is, and a program that uses it with nothing but its engine, NumPy and Pillow.
"""

from collections.abc import Mapping
from typing import Any

PACKAGES = {"onnxruntime": "onnxruntime numpy pillow", "openvino": "openvino numpy pillow", "aot": "torch numpy pillow"}

ENGINES = {
    "onnxruntime": ("import onnxruntime", [
        "onnxruntime.disable_telemetry_events()",
        'session = onnxruntime.InferenceSession("model.onnx")',
        'scores = session.run(None, {"image": x})[0][0]']),
    "openvino": ('sys.modules["openvino_telemetry"] = None      # it sends nothing home\nimport openvino', [
        'precision = {"INFERENCE_PRECISION_HINT": "bf16" if about["precision"] == "bf16" else "f32"}',
        'network = openvino.Core().compile_model("model.xml", "CPU", precision)',
        "scores = network(x)[0][0]"]),
    "aot": ("import torch", [
        'network = torch._inductor.aoti_load_package("model.pt2")',
        "scores = network(torch.from_numpy(x))[0].numpy()"]),
}

PICTURE = """given = about["input"]
(box_h, box_w), (h, w) = given["resize"], given["size"]
picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB" if given["channels"] == 3 else "L")
wide, high = picture.size
size = (box_h * wide // high, box_h) if box_h * wide >= box_w * high else (box_w, box_w * high // wide)
left, top = (round((have - want) / 2) if have > want else -((want - have) // 2) for have, want in zip(size, (w, h)))
picture = picture.resize(size, Image.Resampling[given["interpolation"].upper()]).crop((left, top, left + w, top + h))
x = np.asarray(picture, np.float32).reshape(h, w, -1) / 255
x = np.ascontiguousarray(((x - np.float32(given["mean"])) / np.float32(given["std"])).transpose(2, 0, 1)[None])"""

SEGMENTS = """import sys

from convatlas.deploy import deployed
from convatlas.segment.run import segment

segment(deployed("."), sys.argv[1:], "labels")"""

WASM = """const {readFileSync} = require("fs"), convatlas = require("./convatlas.js");

const [about, plan] = ["deploy.json", "native.json"].map((name) => readFileSync(name, "utf8"));
const [wasm, weights] = ["convatlas.wasm", "native.safetensors"].map((name) => readFileSync(name));
convatlas.open({wasm, weights, about, plan}).then((net) => {
  const pixels = new Uint8Array(4 * net.width * net.height);          // RGBA bytes of a picture of any size
  const {scores} = net.run(net.prepare(pixels, net.width, net.height));
  console.log(scores.slice(0, net.classes));
});"""

WITH_CONVATLAS = """import sys

import convatlas

for found in convatlas.predict(".", sys.argv[1:]):
    for name, share in zip(found.classes, found.probabilities):
        print(f"{share:.6f} {name}")"""


def readme(about: Mapping[str, Any]) -> str:
    """README.md of the folder that `about`, its deploy.json, describes."""
    if about["backend"] == "wasm":
        return _page(about)
    given = about["input"]
    segments = about.get("segments", False)
    by_itself = (not segments and about["backend"] in ENGINES and given["fit"] == "none" and given["channels"] in (1, 3)
                 and given.get("range") is None)
    program = _program(about) if by_itself else SEGMENTS if segments else WITH_CONVATLAS
    command = "convatlas segment . photo.jpg --out labels" if segments else "convatlas predict . photo.jpg"
    way = (f"as a program of its own (`pip install {PACKAGES[about['backend']]}`)" if by_itself else
           "from Python, where convatlas is installed")
    shape = "×".join(map(str, about["example"][1:]))
    return "\n".join([
        f"# {about['model']}, deployed", "",
        f"{about['file']} runs in {about['backend']}, {about['precision']}, "
        f"{'made fast for' if segments else 'on'} images of {shape}; "
        f"{len(about['classes']) or 'unnamed'} classes. Its scores differ from the network's by "
        f"at most {about['difference']:.1e} of the largest, "
        f"on {'a random batch' if about['precision'] != 'int8' else 'pictures that calibrated it'}. "
        "deploy.json says the rest.", "", "```bash", command, "```", "",
        f"Or in this folder, {way}:", "", "```python", program, "```", ""])


def _page(about: Mapping[str, Any]) -> str:
    """The same of a folder for browsers."""
    classes, shape = len(about["classes"]) or "unnamed", "×".join(map(str, about["example"][1:]))
    arithmetic, on = (("int8", "pictures that calibrated it") if about["precision"] == "int8" else
                      ("fp32", "a random batch"))
    return "\n".join([
        f"# {about['model']}, for browsers", "",
        f"index.html answers pictures by WebAssembly, on images of {shape}; {classes} classes. Nothing leaves the "
        f"machine that opens it. Weights are written in {about['precision']} and computed with in {arithmetic}; scores "
        f"differ from the network's by at most {about['difference']:.1e} of the largest, on {on}, run by wasmtime. "
        "deploy.json says the rest.", "",
        "Any web server hands the folder out; here:", "", "```bash", "python -m http.server", "```", "",
        "In a page of your own `<script src=\"convatlas.js\">` makes `convatlas`, and `await convatlas.fetch(\"DIR\")` "
        "the network; its first lines say more. In node, in this folder:", "", "```js", WASM, "```", ""])


def _program(about: Mapping[str, Any]) -> str:
    """Prints the five best classes with their scores."""
    load, run = ENGINES[about["backend"]]
    return "\n".join([
        "import json", "import sys", "", "import numpy as np", "from PIL import Image, ImageOps", "", load, "",
        'about = json.load(open("deploy.json", encoding="utf-8"))', PICTURE, *run,
        'names = about["classes"] or [str(i) for i in range(len(scores))]',
        "for i in np.argsort(-scores)[:5]:", '    print(f"{scores[i]:.6f} {names[i]}")'])
