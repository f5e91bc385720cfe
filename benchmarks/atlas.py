"""What the atlas costs: time to build, size, bytes of a first look, long tasks, script per panned pixel's event.

uv run python benchmarks/atlas.py              # into benchmarks/results/atlas.json, and docs/images/atlas.png
uv run python benchmarks/atlas.py --picture    # the picture alone

Needs Chromium (CONVATLAS_BROWSER names another one).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from statistics import median
from threading import Thread
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from convatlas.atlas.serve import server
from report import save

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "atlas.png"
LOOKS = ("index.html", "networks.html", "network/resnet18.html", "network/densenet264.html",
         "network/resnet1202_cifar.html", "lineage.html", "compare.html", "chapters.html", "chapter/06-resnet.html")
LARGEST = ("densenet264", "resnet1202_cifar")
MOVES = 200
COUNT_LONG = """window.long = []; new PerformanceObserver((list) => {
    for (const each of list.getEntries()) long.push(Math.round(each.duration));
}).observe({type: 'longtask', buffered: true});"""
# each event is handled whole before the next, so its time is the script's and not the painter's
PAN = """(moves) => {
    const svg = document.querySelector('.stagebox > svg'), box = svg.getBoundingClientRect(), times = [];
    const event = (kind, x, buttons) => new PointerEvent(kind, {bubbles: true, pointerId: 1, clientX: x, clientY: box.top + 90, buttons});
    svg.setPointerCapture = () => {};       // of a pointer that is not there
    for (let round = 0; round < 4; round++) {
        svg.dispatchEvent(event('pointerdown', box.left + 700, 1));
        for (let i = 0; i < moves / 4; i++) {
            const moved = event('pointermove', box.left + 700 - 12 * i, 1), begun = performance.now();
            svg.dispatchEvent(moved);
            times.push(performance.now() - begun);
        }
        svg.dispatchEvent(event('pointerup', box.left + 100, 0));
    }
    return {times, nodes: document.querySelectorAll('.stagebox *').length, transform: document.querySelector('.stagebox g').getAttribute('transform')};
}"""


def looked_at(browser: Browser, address: str, path: str) -> dict[str, object]:
    """A first look at a page, before anybody scrolls: bytes and requests, and tasks of more than 50 ms."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
    page.add_init_script(COUNT_LONG)
    page.goto(address + path)
    page.wait_for_timeout(1500)
    found = {"bytes": sum(sizes), "requests": len(sizes), "long_tasks_ms": page.evaluate("long")}
    page.context.close()
    return found


def panned(browser: Browser, address: str, name: str) -> dict[str, object]:
    """Script per event of panning a diagram at the zoom it opens with, in ms."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(f"{address}network/{name}.html")
    page.locator(".widget.diagram").scroll_into_view_if_needed()
    page.wait_for_selector(".stagebox > svg")
    page.wait_for_timeout(500)
    before = page.locator(".stagebox g").first.get_attribute("transform")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def script() -> float:
        return next(each["value"] for each in session.send("Performance.getMetrics")["metrics"]
                    if each["name"] == "ScriptDuration")

    spent = script()
    found = page.evaluate(PAN, MOVES)
    spent = script() - spent
    assert found["transform"] != before, "nothing was panned"
    times = sorted(found["times"])
    page.context.close()
    return {"cpu_ms": round(1000 * spent / MOVES, 3), "median_ms": round(median(times), 3),
            "p95_ms": round(times[int(0.95 * len(times))], 3), "nodes": found["nodes"]}


def picture(browser: Browser, address: str) -> None:
    """The README's picture: a network's diagram, and the lineage, side by side in 256 colours."""
    shots = []
    for path, top in (("network/googlenet.html", "h2#diagram"), ("lineage.html", ".lineage .controls")):
        page = browser.new_context(viewport={"width": 1080, "height": 760}, device_scale_factor=1.25).new_page()
        page.goto(address + path)
        page.locator(".widget").first.scroll_into_view_if_needed()
        page.wait_for_selector(".stagebox > svg, .graph > svg")
        if path.startswith("network"):
            page.locator(".stagebox > svg").first.focus()
            for key in ("Home", *["ArrowRight"] * 16):
                page.keyboard.press(key)
        page.evaluate("""(top) => {
            document.activeElement.blur();
            scrollTo({top: document.querySelector(top).getBoundingClientRect().top + scrollY - 24, behavior: 'instant'});
        }""", top)
        page.wait_for_timeout(600)
        shots.append(Image.open(BytesIO(page.screenshot())).convert("RGB"))
    wide = sum(shot.width for shot in shots) + 24
    sheet = Image.new("RGB", (wide, shots[0].height), "#dfe3e8")
    for x, shot in zip((0, shots[0].width + 24), shots, strict=True):
        sheet.paste(shot, (x, 0))
    # as few colours as keep those of thin lines
    sheet.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


def main() -> None:
    found = os.environ.get("CONVATLAS_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("there is no Chromium: install it, or name one in CONVATLAS_BROWSER")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        before = os.times()
        subprocess.run([sys.executable, "-m", "convatlas", "atlas", "--out", str(site)], check=True)
        after = os.times()
        files = [path for path in site.rglob("*") if path.is_file()]
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with server(site, 0) as serving:
            Thread(target=serving.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{serving.server_port}/"
            assert urlsplit(address).port
            picture(browser, address)
            if "--picture" not in sys.argv[1:]:
                results = {
                    "browser": f"Chromium {browser.version}",
                    "build": {"seconds": round(after.elapsed - before.elapsed, 1), "files": len(files),
                              "cpu_seconds": round(after.children_user - before.children_user, 1),
                              "bytes": sum(path.stat().st_size for path in files)},
                    "first_look": {path: looked_at(browser, address, path) for path in LOOKS},
                    "panning": {name: panned(browser, address, name) for name in LARGEST},
                }
                save("atlas", results)
                print(json.dumps(results, indent=1))
            serving.shutdown()
        browser.close()


if __name__ == "__main__":
    main()
