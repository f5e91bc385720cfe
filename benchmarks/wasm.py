"""How fast networks answer as WebAssembly, beside ONNX Runtime Web, both on one thread under node: results/wasm.json and the
table of docs/performance.md.

    uv run python benchmarks/wasm.py --fetch            # npm fetches onnxruntime-web into a scratch folder first
    uv run python benchmarks/wasm.py [NAME …] [--onnxruntime FOLDER] [--rounds N]
    uv run python benchmarks/wasm.py --page             # the table alone

The two answer the same image in turns; a turn's CPU time counts, since other work on the machine makes wall time mean little.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from report import RESULTS, put

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
NAMES = ("resnet18", "mobilenet_v2", "efficientnet_b0")
TARGETS = {"resnet18": 2.0, "mobilenet_v2": 1.3}        # times as fast as ONNX Runtime Web
ALIKE = 1e-5                                            # of the largest score
SCRATCH = Path(tempfile.gettempdir()) / "convatlas-onnxruntime-web"
SCRIPT = """
const fs = require("fs"), [folder, web, rounds] = process.argv.slice(2), convatlas = require(`${folder}/convatlas.js`);
const ort = require(`${web}/node_modules/onnxruntime-web`);
const floats = (name) => { const read = fs.readFileSync(`${folder}/${name}`); return new Float32Array(read.buffer.slice(read.byteOffset, read.byteOffset + read.length)); };
const clock = () => { const {user, system} = process.cpuUsage(); return (user + system) / 1e6; };
const middle = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];
(async () => {
  ort.env.wasm.numThreads = 1;
  const x = floats("x.bin"), y = floats("y.bin"), [about, plan] = ["deploy.json", "native.json"].map((name) => fs.readFileSync(`${folder}/${name}`, "utf8"));
  const opening = performance.now();
  const net = await convatlas.open({wasm: fs.readFileSync(`${folder}/convatlas.wasm`), weights: fs.readFileSync(`${folder}/native.safetensors`), about, plan});
  const opened = (performance.now() - opening) / 1e3;
  const session = await ort.InferenceSession.create(fs.readFileSync(`${folder}/net.onnx`), {executionProviders: ["wasm"], graphOptimizationLevel: "all"});
  const tensor = new ort.Tensor("float32", x, [1, net.channels, net.height, net.width]);
  const sides = {convatlas: async () => net.run(x).scores, onnxruntime: async () => Object.values(await session.run({[session.inputNames[0]]: tensor}))[0].data};
  const found = {opened, onnxruntime_version: ort.env.versions.web};
  const most = y.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  for (const [name, call] of Object.entries(sides)) {
    const scores = await call();
    found[name] = {error: y.reduce((a, b, i) => Math.max(a, Math.abs(b - scores[i])), 0) / most, cpu: [], wall: []};
    for (let i = 0; i < 5; i++) await call();
  }
  await new Promise((done) => setTimeout(done, 1500));          // until what was hot is compiled well
  for (let i = 0; i < +rounds; i++) {
    for (const [name, call] of Object.entries(sides)) {
      const cpu = clock(), wall = performance.now();
      await call();
      found[name].cpu.push(clock() - cpu);
      found[name].wall.push((performance.now() - wall) / 1e3);
    }
  }
  for (const name of Object.keys(sides)) for (const kind of ["cpu", "wall"]) found[name][kind] = middle(found[name][kind]);
  console.log(JSON.stringify(found));
})().catch((error) => { console.error(error); process.exit(1); });
"""


def measured(name: str, web: Path, rounds: int) -> dict[str, Any]:
    """One network, at 224 pixels with random weights, in one process of node."""
    import torch

    import convatlas
    from convatlas.deploy import deploy, export

    torch.manual_seed(0)
    net = convatlas.create_model(name, image_size=224).eval()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "net"
        deploy(net, folder, "wasm")
        export(net, folder / "net.onnx")
        x = torch.randn(1, net.in_chans, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            y = net(x)
        x.numpy().tofile(folder / "x.bin")
        y.numpy().tofile(folder / "y.bin")
        (folder / "bench.js").write_text(SCRIPT, encoding="utf-8")
        done = subprocess.run(["node", str(folder / "bench.js"), str(folder), str(web.resolve()), str(rounds)],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr.strip()[-1000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for side in ("convatlas", "onnxruntime"):
        if not found[side]["error"] <= ALIKE:
            raise SystemExit(f"{name}: {side} differs from torch by {found[side]['error']:.1e}")
    return found | {"times_as_fast": found["onnxruntime"]["cpu"] / found["convatlas"]["cpu"], "target": TARGETS.get(name)}


def table(tree: dict[str, Any]) -> str:
    rows = ["| network, 224 px | convatlas | ONNX Runtime Web | times as fast | target | largest difference from torch |", "|---|--:|--:|--:|--:|--:|"]
    for name, each in tree["networks"].items():
        ours, theirs = each["convatlas"], each["onnxruntime"]
        rows.append(f"| {name} | {ours['cpu'] * 1e3:.0f} ms | {theirs['cpu'] * 1e3:.0f} ms | **{each['times_as_fast']:.2f}** | "
                    f"{'' if each['target'] is None else each['target']} | {ours['error']:.0e} |")
    about = tree["machine"]
    return "\n".join([*rows, "", f"One thread under node {about['node']} on an {about['processor']}; CPU time of the median turn of {tree['rounds']}, in turns. "
                      f"The module has {tree['module']['bytes'] / 1e3:.0f} kB, {tree['module']['gzip'] / 1e3:.0f} kB gzipped; ONNX Runtime Web "
                      f"{tree['onnxruntime_web']} brings {tree['theirs']['bytes'] / 1e6:.1f} MB, {tree['theirs']['gzip'] / 1e6:.1f} MB gzipped. "
                      "`uv run python benchmarks/wasm.py --fetch`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--onnxruntime", type=Path, default=SCRATCH, help="a folder in which npm installed onnxruntime-web")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    path = RESULTS / "wasm.json"
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"networks": {}}
    if not given.page:
        import gzip

        from convatlas.deploy.machine import processor
        from convatlas.deploy.native import wasm

        if not shutil.which("node"):
            raise SystemExit("node is not here")
        if given.fetch:
            given.onnxruntime.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--prefix", str(given.onnxruntime), "onnxruntime-web"], check=True)
        package = given.onnxruntime / "node_modules" / "onnxruntime-web"
        if not package.is_dir():
            raise SystemExit(f"there is no onnxruntime-web in {given.onnxruntime}: fetch it with --fetch")
        theirs = (package / "dist" / "ort-wasm-simd-threaded.wasm").read_bytes()
        tree |= {"machine": {"processor": processor(), "node": subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip(),
                             "cores": os.cpu_count()},
                 "onnxruntime_web": json.loads((package / "package.json").read_text())["version"], "rounds": given.rounds,
                 "module": {"bytes": len(wasm.module()), "gzip": len(gzip.compress(wasm.module(), 9))},
                 "theirs": {"bytes": len(theirs), "gzip": len(gzip.compress(theirs, 9))}}
        for name in given.names:
            tree["networks"][name] = found = measured(name, given.onnxruntime, given.rounds)
            print(f"{name}: {found['times_as_fast']:.2f} times as fast as ONNX Runtime Web", flush=True)
            path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    put(PAGE, {"wasm": table(tree)})


if __name__ == "__main__":
    main()
