"""A site that is built once, and a page of a real browser that forgives nothing.

Tests marked `browser` run by name, `pytest -m browser`, and then fail where there is no Chromium; otherwise they are
skipped and say so.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from visiting import CLASSES, Open, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


PATIENCE = 120_000      # milliseconds: machines may be busy, and no test is about time


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    named = "browser" in config.option.markexpr
    mark = pytest.mark.timeout(1200) if named else pytest.mark.skip(
        reason="needs a browser: run by name, with -m browser")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(mark)


def trained(folder: Path) -> Path:
    """A run on two classes whose names are markup."""
    import convatlas

    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        inside = folder / "data" / name
        inside.mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 90, (16, 16), dtype=np.uint8) + np.uint8(120 * number)
            Image.fromarray(pixels).save(inside / f"<b>{i}.png")
    run = convatlas.recipe("lenet5").change("data.source", str(folder / "data")).change("train.epochs", 2)
    run = run.change("data.val_fraction", 0.4).change("model.name", "lenet5_modern")
    run = run.change("loss.name", "cross_entropy").change("optim.name", "sgd")
    return Path(convatlas.train(run, out=folder / "<b>run").folder)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole site, with a run's page, on disk and served."""
    from convatlas.atlas import build
    from convatlas.atlas.serve import server

    folder = tmp_path_factory.mktemp("atlas")
    run = trained(folder)
    build(folder / "site", [run])
    with server(folder / "site", 0) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield Site(folder / "site", run, f"http://127.0.0.1:{serving.server_port}/")
        serving.shutdown()


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    named = os.environ.get("CONVATLAS_BROWSER")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("there is no Chromium: apt-get install chromium, or name one in CONVATLAS_BROWSER")
    with sync_playwright() as playwright:
        # root, as in a container, cannot have a sandbox
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser", site: Site) -> Iterator[Open]:
    """`open_page(path, theme="light", width=1280, file=False)`: the page at that path of the site, loaded.

    When the test ends, an error on the console, an exception or a request to anywhere else fails it.
    """
    wrong: list[str] = []
    contexts = []

    def heard(address: str) -> None:
        parts = urlsplit(address)
        inside = address.startswith((site.address, site.folder.as_uri())) or parts.scheme in ("data", "blob")
        if not inside:
            wrong.append(f"a request to {address}")

    def run(path: str, theme: str = "light", width: int = 1280, file: bool = False) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme,
                                      reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"{path}: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(f"{path}: {error}"))
        page.on("request", lambda request: heard(request.url))
        page.goto((site.folder.as_uri() + "/" if file else site.address) + path)
        return page

    yield run
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)
