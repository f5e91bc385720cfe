"""How fast networks answer as WebAssembly: beside ONNX Runtime Web under node and in Chromium, and those that come along in a page
of the atlas beside `convatlas predict`. Into results/wasm.json and the tables of docs/performance.md.

    uv run python benchmarks/wasm.py --fetch            # npm fetches onnxruntime-web into a scratch folder first
    uv run python benchmarks/wasm.py [NAME …] [--onnxruntime FOLDER] [--rounds N]
    uv run python benchmarks/wasm.py --browser          # the same in Chromium (CONVATLAS_BROWSER names another), and what comes along
    uv run python benchmarks/wasm.py --page             # the tables alone

Sides answer the same image in turns, on one thread each; a turn's CPU time counts, since other work on the machine makes wall time
mean little. That of a page is what DevTools calls TaskDuration in ticks of its main thread.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from report import RESULTS, put

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
NAMES = ("resnet18", "mobilenet_v2", "efficientnet_b0")
TARGETS = {"resnet18": 2.0, "mobilenet_v2": 1.3}        # times as fast as ONNX Runtime Web
ALIKE = 1e-5                                            # of the largest score
SCRATCH = Path(tempfile.gettempdir()) / "convatlas-onnxruntime-web"
TURN = 0.05             # seconds at least that a turn takes: networks that answer sooner answer several times
NEAR = 1e-2             # what half precision of the weights may move a share (docs/atlas.md)
# the two sides, under node and in a page: `files` has net.onnx and what the folder of a deployed network has, `x` and `y` in floats
SIDES = """
async function sides(convatlas, ort, files, x, y) {
  ort.env.wasm.numThreads = 1;
  const opening = performance.now();
  const net = await convatlas.open({wasm: files["convatlas.wasm"], weights: files["native.safetensors"], about: files["deploy.json"], plan: files["native.json"]});
  const opened = (performance.now() - opening) / 1e3;
  const session = await ort.InferenceSession.create(files["net.onnx"], {executionProviders: ["wasm"], graphOptimizationLevel: "all"});
  const tensor = new ort.Tensor("float32", x, [1, net.channels, net.height, net.width]);
  const calls = {convatlas: async () => net.run(x).scores, onnxruntime: async () => Object.values(await session.run({[session.inputNames[0]]: tensor}))[0].data};
  const most = y.reduce((a, b) => Math.max(a, Math.abs(b)), 0), errors = {};
  for (const [name, call] of Object.entries(calls)) {
    const scores = await call();
    errors[name] = y.reduce((a, b, i) => Math.max(a, Math.abs(b - scores[i])), 0) / most;
    for (let i = 0; i < 5; i++) await call();
  }
  await new Promise((done) => setTimeout(done, 1500));          // until what was hot is compiled well
  return {calls, about: {opened, errors, onnxruntime_version: ort.env.versions.web}};
}
"""
NODE = SIDES + """
const fs = require("fs"), [folder, web, rounds] = process.argv.slice(2);
const read = (name) => { const found = fs.readFileSync(`${folder}/${name}`); return found.buffer.slice(found.byteOffset, found.byteOffset + found.length); };
const clock = () => { const {user, system} = process.cpuUsage(); return (user + system) / 1e6; };
(async () => {
  const files = Object.fromEntries(["convatlas.wasm", "native.safetensors", "net.onnx"].map((name) => [name, new Uint8Array(read(name))]));
  for (const name of ["deploy.json", "native.json"]) files[name] = fs.readFileSync(`${folder}/${name}`, "utf8");
  const {calls, about} = await sides(require(`${folder}/convatlas.js`), require(`${web}/node_modules/onnxruntime-web`), files, new Float32Array(read("x.bin")), new Float32Array(read("y.bin")));
  const turns = {convatlas: [], onnxruntime: []};
  for (let i = 0; i < +rounds; i++) {
    for (const [name, call] of Object.entries(calls)) {
      const cpu = clock(), wall = performance.now();
      await call();
      turns[name].push([clock() - cpu, (performance.now() - wall) / 1e3]);
    }
  }
  console.log(JSON.stringify({...about, turns}));
})().catch((error) => { console.error(error); process.exit(1); });
"""
PAGE_OF_BOTH = SIDES + """
async function begin() {
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  const fetched = async (name) => (await fetch(name)).arrayBuffer(), files = {};
  for (const name of ["convatlas.wasm", "native.safetensors", "net.onnx"]) files[name] = new Uint8Array(await fetched(name));
  for (const name of ["deploy.json", "native.json"]) files[name] = await (await fetch(name)).text();
  const {calls, about} = await sides(convatlas, ort, files, new Float32Array(await fetched("x.bin")), new Float32Array(await fetched("y.bin")));
  window.calls = calls;
  return about;
}
"""
TURN_OF_A_PAGE = """async ([name, times]) => {
  const began = performance.now();
  for (let i = 0; i < times; i++) await calls[name]();
  return (performance.now() - began) / 1e3;
}"""
Turn = Callable[[int], tuple[float, float]]         # so many answers → seconds of CPU and by the clock for all


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder with one network, at 224 pixels with random weights, as both sides take it, with an image and its scores."""
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
        yield folder


def judged(name: str, about: dict[str, Any], turns: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """What was found of one network: medians of the turns; the scores must be torch's."""
    found = {side: {"error": about["errors"][side], "cpu": median(cpu for cpu, _ in all_), "wall": median(wall for _, wall in all_)}
             for side, all_ in turns.items()}
    for side, each in found.items():
        if not each["error"] <= ALIKE:
            raise SystemExit(f"{name}: {side} differs from torch by {each['error']:.1e}")
    # of each round the ratio, since the machine is not the same in all
    by_round = [theirs / ours for (ours, _), (theirs, _) in zip(turns["convatlas"], turns["onnxruntime"], strict=True)]
    return {"opened": about["opened"], "onnxruntime_version": about["onnxruntime_version"], **found,
            "times_as_fast": found["onnxruntime"]["cpu"] / found["convatlas"]["cpu"],
            "by_round": [min(by_round), max(by_round)], "target": TARGETS.get(name)}


def under_node(name: str, web: Path, rounds: int) -> dict[str, Any]:
    """One network in one process of node."""
    with folder_of(name) as folder:
        (folder / "bench.js").write_text(NODE, encoding="utf-8")
        done = subprocess.run(["node", str(folder / "bench.js"), str(folder), str(web.resolve()), str(rounds)],
                              capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return judged(name, found, found["turns"])


# -- in a browser ------------------------------------------------------------------------------------------------------


class Browser:
    """Chromium with one page at a time of a folder that is served to this machine alone."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    @contextmanager
    def page(self, folder: Path, path: str) -> Iterator[Any]:
        """A page of the folder, with the headers that let an engine ask for threads."""
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def end_headers(self) -> None:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
                super().end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        context = self.browser.new_context(bypass_csp=True)
        context.set_default_timeout(600_000)
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
            Thread(target=serving.serve_forever, daemon=True).start()
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{serving.server_port}/{path}")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.spent = lambda: next(each["value"] for each in session.send("Performance.getMetrics")["metrics"]
                                      if each["name"] == "TaskDuration")
            yield page
            serving.shutdown()
        context.close()


def turn_of(page: Any, name: str) -> Turn:
    """Answers of `calls[name]` of a page."""
    def turn(times: int) -> tuple[float, float]:
        before = page.spent()
        wall = page.evaluate(TURN_OF_A_PAGE, [name, times])
        return page.spent() - before, wall
    return turn


def turn_here(call: Callable[[], Any]) -> Turn:
    """Answers of a function of this process."""
    def turn(times: int) -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            call()
        return time.process_time() - cpu, time.perf_counter() - wall
    return turn


def in_turns(sides: dict[str, Turn], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of CPU and by the clock for one answer of each side, round by round."""
    times = {name: max(1, round(TURN / max(1e-6, turn(2)[0] / 2))) for name, turn in sides.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, turn in sides.items():
            cpu, wall = turn(times[name])
            found[name].append((cpu / times[name], wall / times[name]))
    return found


def in_browser(name: str, browser: Browser, package: Path, rounds: int) -> dict[str, Any]:
    """One network in one page."""
    with folder_of(name) as folder:
        shutil.copytree(package / "dist", folder / "ort", ignore=shutil.ignore_patterns("*.map", "*jsep*", "*jspi*", "*asyncify*"))
        (folder / "both.js").write_text(PAGE_OF_BOTH, encoding="utf-8")
        (folder / "both.html").write_text("<!doctype html><script src='convatlas.js'></script><script src='ort/ort.wasm.min.js'></script>"
                                          "<script src='both.js'></script>", encoding="utf-8")
        with browser.page(folder, "both.html") as page:
            about = page.evaluate("begin()")
            turns = in_turns({side: turn_of(page, side) for side in ("convatlas", "onnxruntime")}, rounds)
    return judged(name, about, turns)


SHIPPED = """async ([name, pixels, width, height]) => {
  const opening = performance.now(), net = await atlas.network(name), opened = (performance.now() - opening) / 1e3;
  const rgba = Uint8ClampedArray.from(pixels);
  window.calls = {page: () => { const {scores} = net.run(net.prepare(rgba, width, height)); return net.segments ? scores : net.shares(scores); }};
  const found = calls.page();
  for (let i = 0; i < 20; i++) calls.page();
  await new Promise((done) => setTimeout(done, 1000));
  return {opened, answer: net.segments ? null : [...found]};
}"""


def shipped(browser: Browser, rounds: int) -> dict[str, Any]:
    """Every network that comes along, on a picture of its size: in the atlas's page, in a Python process that has it open
    already, and by the command, which begins with importing torch.
    """
    import numpy as np
    import torch
    from PIL import Image

    import convatlas
    from convatlas.atlas import networks
    from convatlas.atlas.build import Wanted, build
    from convatlas.deploy.bundle import pictures_of
    from convatlas.deploy.reader import prepared
    from convatlas.files import along
    from convatlas.net.segmenter import Segmenter

    def scored(net: Any, file: Path) -> Any:
        """Scores of every pixel, as the page has them; `convatlas segment` would write files too."""
        with torch.inference_mode():
            return net(torch.from_numpy(prepared(np.asarray(Image.open(file).convert("RGB")), pictures_of(net)))[None])

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        site, file = Path(work) / "site", Path(work) / "picture.png"
        build(site, Wanted(), (networks.networks,))
        # a page that opens none by itself
        (site / "bare.html").write_text('<!doctype html><html data-root="">' + "".join(
            f'<script src="script/{name}.js"></script>' for name in ("atlas", "convatlas", "engine")), encoding="utf-8")
        for name in along():
            net = convatlas.load(name).eval()
            height, width = net.image_size
            y, x = np.mgrid[:height, :width] / max(height, width)
            pixels = (255 * np.exp(-((np.hypot(x - .5, y - .5) - .3) / .1) ** 2)).astype(np.uint8)
            Image.fromarray(pixels).save(file)
            rgba = np.dstack([pixels] * 3 + [np.full_like(pixels, 255)]).reshape(-1).tolist()
            segments = isinstance(net, Segmenter)
            answer = partial(scored, net, file) if segments else partial(convatlas.predict, net, file, top_k=99)
            with browser.page(site, "bare.html") as page:
                about = page.evaluate(SHIPPED, [name, rgba, width, height])
                if not segments:
                    known, = answer()
                    shares = dict(zip(known.classes, known.probabilities, strict=True))
                    apart = max(abs(shares[each] - share) for each, share in zip(net.card.classes, about["answer"], strict=True))
                    if not apart <= NEAR:
                        raise SystemExit(f"{name}: the page's shares differ from predict's by {apart:.1e}")
                turns = in_turns({"page": turn_of(page, "page"), "predict": turn_here(answer)}, rounds)
            before, wall = os.times(), time.perf_counter()
            subprocess.run([sys.executable, "-m", "convatlas", "segment" if segments else "predict", name, str(file),
                            *(["--out", str(Path(work) / "masks")] if segments else [])], check=True, capture_output=True)
            after = os.times()
            found[name] = {"model": net.name, "opened": about["opened"], **{
                side: {"cpu": median(cpu for cpu, _ in all_), "wall": median(each for _, each in all_)} for side, all_ in turns.items()},
                "command": {"cpu": after.children_user + after.children_system - before.children_user - before.children_system,
                            "wall": time.perf_counter() - wall}}
            print(f"{name}: {1e3 * found[name]['page']['cpu']:.2f} ms in the page, {1e3 * found[name]['predict']['cpu']:.2f} ms by predict", flush=True)
    return found


# -- the tables --------------------------------------------------------------------------------------------------------


def table(networks: dict[str, Any]) -> list[str]:
    rows = ["| network, 224 px | convatlas | ONNX Runtime Web | times as fast | target | largest difference from torch |", "|---|--:|--:|--:|--:|--:|"]
    for name, each in networks.items():
        ours, theirs = each["convatlas"], each["onnxruntime"]
        rows.append(f"| {name} | {ours['cpu'] * 1e3:.0f} ms | {theirs['cpu'] * 1e3:.0f} ms | **{each['times_as_fast']:.2f}** | "
                    f"{'' if each['target'] is None else each['target']} | {ours['error']:.0e} |")
    return [*rows, ""]


def tables(tree: dict[str, Any]) -> dict[str, str]:
    about, browser = tree["machine"], tree["browser"]
    made = {"wasm": "\n".join([*table(tree["networks"]), (
        f"One thread under node {about['node']} on an {about['processor']}; CPU time of the median turn of {tree['rounds']}, in turns. "
        f"The module has {tree['module']['bytes'] / 1e3:.0f} kB, {tree['module']['gzip'] / 1e3:.0f} kB gzipped; ONNX Runtime Web "
        f"{tree['onnxruntime_web']} brings {tree['theirs']['bytes'] / 1e6:.1f} MB, {tree['theirs']['gzip'] / 1e6:.1f} MB gzipped. "
        "`uv run python benchmarks/wasm.py --fetch`.")])}
    rows = ["| network | in the page | `predict` in Python | times as fast | the command `predict` | opened in the page in |", "|---|--:|--:|--:|--:|--:|"]
    for name, each in browser["shipped"].items():
        page, predict = each["page"]["cpu"], each["predict"]["cpu"]
        opened = "–" if each["opened"] is None else f"{each['opened'] * 1e3:.0f} ms"
        rows.append(f"| {name} | {page * 1e3:.2f} ms | {predict * 1e3:.2f} ms | {predict / page:.1f} | {each['command']['cpu']:.1f} s | {opened} |")
    made["browser"] = "\n".join([*table(browser["networks"]), (
        f"The same in {browser['machine']['browser']} on an {browser['machine']['processor']}: one page has both, on its main thread; CPU time of "
        f"the median turn of {browser['rounds']}, in turns."), "", *rows, "", (
        "The networks that come along, on a picture of their own size: preparing it, the network, and shares, in a page of the atlas (weights "
        "in half precision), and `convatlas.predict` of a network that is open, on one thread of torch (which reads the file too; of the U-Net the scores "
        "alone), CPU time in turns; then the command from its start, once, and how long the page took by the clock to open the network. "
        "`uv run python benchmarks/wasm.py --browser`.")])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--onnxruntime", type=Path, default=SCRATCH, help="a folder in which npm installed onnxruntime-web")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    path = RESULTS / "wasm.json"
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"networks": {}}

    def keep() -> None:
        path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")

    if not given.page:
        import gzip

        from convatlas.deploy.machine import processor
        from convatlas.deploy.native import wasm

        if given.fetch:
            given.onnxruntime.mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--prefix", str(given.onnxruntime), "onnxruntime-web"], check=True)
        package = given.onnxruntime / "node_modules" / "onnxruntime-web"
        if not package.is_dir():
            raise SystemExit(f"there is no onnxruntime-web in {given.onnxruntime}: fetch it with --fetch")
        machine = {"processor": processor(), "cores": os.cpu_count()}
        if given.browser:
            from playwright.sync_api import sync_playwright

            named = os.environ.get("CONVATLAS_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
            if named is None:
                raise SystemExit("there is no Chromium: install it, or name one in CONVATLAS_BROWSER")
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=named, args=["--no-sandbox"])
                browser = Browser(chromium)
                found = tree.setdefault("browser", {"networks": {}}) | {
                    "machine": machine | {"browser": f"Chromium {chromium.version}"}, "rounds": given.rounds}
                tree["browser"] = found
                for name in given.names:
                    found["networks"][name] = in_browser(name, browser, package, given.rounds)
                    print(f"{name}: {found['networks'][name]['times_as_fast']:.2f} times as fast as ONNX Runtime Web", flush=True)
                found["shipped"] = shipped(browser, given.rounds)
                keep()
                chromium.close()
        else:
            if not shutil.which("node"):
                raise SystemExit("node is not here")
            theirs = (package / "dist" / "ort-wasm-simd-threaded.wasm").read_bytes()
            tree |= {"machine": machine | {"node": subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()},
                     "onnxruntime_web": json.loads((package / "package.json").read_text())["version"], "rounds": given.rounds,
                     "module": {"bytes": len(wasm.module()), "gzip": len(gzip.compress(wasm.module(), 9))},
                     "theirs": {"bytes": len(theirs), "gzip": len(gzip.compress(theirs, 9))}}
            for name in given.names:
                tree["networks"][name] = found = under_node(name, given.onnxruntime, given.rounds)
                print(f"{name}: {found['times_as_fast']:.2f} times as fast as ONNX Runtime Web", flush=True)
                keep()
    put(PAGE, tables(tree))


if __name__ == "__main__":
    main()
