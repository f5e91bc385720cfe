"""Networks that run in the page, in a browser: what they answer is what `convatlas predict` answers."""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_site_browser import faults
from visiting import CLASSES, Open, Site, settled

import convatlas
from convatlas.atlas import networks
from convatlas.atlas.build import Wanted, build
from convatlas.deploy.native import wasm

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.skipif(wasm.missing() is not None, reason=str(wasm.missing()))]
TRY, LENET = "[data-widget=try]", "[data-widget=lenet-draw]"


def draw(page: "Page", widget: str, *places: tuple[float, float]) -> None:
    """A stroke on the widget's pad, in shares of its sides."""
    page.locator(widget).scroll_into_view_if_needed()
    page.wait_for_selector(f"{widget} .pad")
    box = page.locator(f"{widget} .pad").bounding_box()
    assert box
    for i, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if not i:
            page.mouse.down()
    page.mouse.up()


def answer(page: "Page") -> dict[str, Any]:
    page.wait_for_selector(f"{TRY}[data-answer]")
    found: dict[str, Any] = json.loads(page.locator(TRY).get_attribute("data-answer") or "{}")
    return found


def open_all(page: "Page") -> None:
    """The sections below the answer."""
    for name in page.locator(f"{TRY} details:not([open])").evaluate_all("all => all.map((each) => each.dataset.name)"):
        page.locator(f"{TRY} details[data-name={name}] > summary").click()


def equals_predict(found: dict[str, Any], file: Path, within: float, source: str | Path | None = None) -> None:
    """`source` is where the network is, unless it came along."""
    source = source or found["name"]
    with torch.inference_mode():
        (known,) = convatlas.predict(source, [file], top_k=99)
    assert found["best"] == known.classes[0]
    shares = dict(zip(known.classes, known.probabilities, strict=True))
    names = convatlas.load(source).card.classes
    assert found["shares"] == pytest.approx([shares[name] for name in names], abs=within)


@pytest.mark.parametrize("file", [False, True])
def test_a_drawn_digit_gets_the_class_and_the_scores_of_predict(open_page: Open, tmp_path: Path, file: bool) -> None:
    page = open_page("try.html", file=file)
    draw(page, TRY, (.5, .15), (.3, .3), (.3, .7), (.5, .85), (.7, .7), (.7, .3), (.5, .15))
    page.wait_for_timeout(300)
    found = answer(page)
    seen = found["picture"]
    assert (seen["width"], seen["height"]) == (8, 8) and found["best"] == "0"
    Image.fromarray(np.array(seen["grey"], np.uint8).reshape(8, 8)).save(tmp_path / "drawn.png")
    equals_predict(found, tmp_path / "drawn.png", 1e-4)


@pytest.mark.parametrize(("name", "size", "within"), [
    ("lenet5.digits", 8, 1e-4), ("resnet20_cifar.digits", 16, 1e-2), ("mobilenet_v2_035.digits", 40, 1e-2),
    ("repvgg_a0.fashion-small", 28, 1e-2), ("lenet5_modern.fashion-small", 57, 1e-3)])
def test_a_visitor_s_file_gets_what_predict_says(open_page: Open, tmp_path: Path, name: str, size: int,
                                                 within: float) -> None:
    """Weights in half precision move the scores of networks whose BatchNorm was folded into them."""
    y, x = np.mgrid[:size, :size] / size
    pixels = (255 * np.exp(-((np.hypot(x - .5, y - .5) - .3) / .1) ** 2)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    page = open_page(f"try.html?net={name}")
    page.wait_for_selector(f"{TRY}[data-ready]")
    page.locator(TRY).evaluate("each => delete each.dataset.answer")
    page.set_input_files("#own-picture", tmp_path / "a.png")
    equals_predict(answer(page), tmp_path / "a.png", within)


def grating(folder: Path) -> Path:
    y, x = np.mgrid[:40, :52]
    pixels = np.stack([(x * y) % 256, 5 * x % 256, 255 - 6 * y % 256], -1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("file", [False, True])
def test_a_run_of_one_s_own_answers_in_the_page(open_page: Open, site: Site, tmp_path: Path, file: bool) -> None:
    """Beside those that come along; its classes have markup for names. In a folder below another site."""
    own = build(site.folder / "own", Wanted(weights=[site.run]), (networks.networks,))
    page = open_page("own/try.html", file=file)
    page.wait_for_selector(f"{TRY}[data-ready]")
    assert page.locator(f"{TRY} select option").first.inner_text().startswith("b-run ")
    page.set_input_files("#own-picture", grating(tmp_path))
    found = answer(page)
    equals_predict(found, tmp_path / "a.png", 1e-2, site.run)
    assert found["name"] == "b-run" and found["best"] in CLASSES
    assert CLASSES[0] in page.locator(f"{TRY} .bars").inner_text() and page.locator("img[src=x]").count() == 0
    open_all(page)
    page.wait_for_selector(f"{TRY} .maps canvas")
    shutil.rmtree(own.folder)


def test_the_page_of_a_deployed_folder_answers(open_page: Open, site: Site, tmp_path: Path) -> None:
    """What `convatlas deploy RUN --target wasm` writes, opened from a server, and what it says from disk."""
    from convatlas.deploy import deploy

    deploy(convatlas.load(site.run), site.folder / "deployed", "wasm")
    page = open_page("deployed/index.html")
    page.get_by_text("and knows 2 classes").wait_for()
    page.set_input_files("#file", grating(tmp_path))
    page.wait_for_selector("#answer tr")
    (known,) = convatlas.predict(site.run, [tmp_path / "a.png"])
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#answer tr").all()]
    assert [name for name, _ in rows] == list(known.classes)
    assert [float(share.split()[0]) / 100 for _, share in rows] == pytest.approx(known.probabilities, abs=1e-4)
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "none.png")
    page.get_by_text("none.png is no picture that the browser reads").wait_for()
    assert faults(page) == []
    page = open_page("deployed/index.html", file=True)
    page.get_by_text("browsers do not read files from a page that is a file").wait_for()
    shutil.rmtree(site.folder / "deployed")


def test_data_that_cannot_be_read_is_told_and_another_network_can_be_chosen(browser: "Browser", site: Site) -> None:
    """Of a copy that lost a file; a page of its own, for the console tells of it too."""
    page = browser.new_context().new_page()
    page.route("**/data/lenet5.digits.net.js", lambda route: route.abort())
    page.goto(f"{site.address}try.html")
    page.get_by_text("lenet5.digits could not be opened: data/lenet5.digits.net.js could not be read: reload"
                     ).wait_for()
    page.locator(f"{TRY} select").first.select_option(label=page.locator(
        f"{TRY} select option", has_text="lecun1989_zipcode.digits").inner_text())
    page.locator(f"{TRY} .sample").first.click()
    assert answer(page)["name"] == "lecun1989_zipcode.digits"
    page.context.close()


def test_hiding_a_place_tells_also_where_the_share_is_all_but_one(open_page: Open) -> None:
    """By the score, which still moves there; as computed by the library."""
    page = open_page("try.html")
    draw(page, TRY, (.5, .15), (.3, .3), (.3, .7), (.5, .85), (.7, .7), (.7, .3), (.5, .15))
    page.wait_for_timeout(300)
    found = answer(page)
    page.locator("details[data-name=where] > summary").click()
    said = page.locator("details[data-name=where] figcaption").inner_text()
    before, after = (float(number) for number in re.findall(r"score falls from (-?[\d.]+) to (-?[\d.]+)", said)[0])
    net = convatlas.load("lenet5.digits").eval()
    picture = torch.tensor(found["picture"]["grey"], dtype=torch.uint8).reshape(1, 8, 8)
    with torch.inference_mode():
        seen = convatlas.transforms(net)(picture)[None]
        score = net(seen)[0].max().item()
    assert before == pytest.approx(score, abs=0.05) and after < before - 0.1
    inks = page.locator("details[data-name=where] canvas").evaluate(
        "(one) => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size")
    assert inks > 20


def test_nuclei_are_those_of_the_library(open_page: Open) -> None:
    """Of a picture that comes along, of the network's own size."""
    page = open_page("try.html?net=unet_same.nuclei")
    found = answer(page)
    net = convatlas.load("unet_same.nuclei").eval()
    from importlib.resources import files

    from convatlas.atlas.chapters.told import PICTURES
    from convatlas.deploy.bundle import pictures_of
    from convatlas.deploy.reader import prepared

    with (files("convatlas.data") / "nuclei" / "test" / "images" / f"{PICTURES[0][1]}.png").open("rb") as file:
        pixels = np.asarray(Image.open(file).convert("RGB"))
    with torch.inference_mode():
        scores = net(torch.from_numpy(prepared(pixels, pictures_of(net)))[None])
    assert found["share"] == pytest.approx((scores.argmax(1) > 0).float().mean().item(), abs=2e-3)


def test_every_network_answers_and_opens(open_page: Open) -> None:
    """One after the other, by its menu; every section below opens."""
    page = open_page("try.html")
    page.wait_for_selector(f"{TRY}[data-ready]")
    names = page.locator(f"{TRY} select option").evaluate_all("all => all.map((each) => each.textContent)")
    assert len(names) >= 12
    for i in range(len(names)):
        page.locator(TRY).evaluate("each => delete each.dataset.answer")
        page.locator(f"{TRY} select").first.select_option(index=i)
        page.wait_for_selector(f"{TRY} .sample")
        page.locator(f"{TRY} .sample").first.click()
        answer(page)
        open_all(page)
        page.wait_for_selector(f"{TRY} .maps canvas")
        if page.locator("details[data-name=like]").count():
            page.wait_for_selector("details[data-name=like] .near")


def test_of_two_choices_the_last_answers(open_page: Open) -> None:
    """The first opens later, for it is large; its classes are clothes."""
    page = open_page("try.html")
    page.wait_for_selector(f"{TRY}[data-ready]")
    page.locator(TRY).evaluate("""each => {
        const menu = each.querySelector("select"), chosen = (name) => {
            menu.selectedIndex = [...menu.options].findIndex((option) => option.textContent.startsWith(name));
            menu.dispatchEvent(new Event("change", {bubbles: true}));
        };
        chosen("convnext_tiny.fashion-small ");
        chosen("lecun1989_zipcode.digits ");
    }""")
    page.evaluate("""() => Promise.all(
        ["convnext_tiny.fashion-small", "lecun1989_zipcode.digits"].map((name) => atlas.network(name)))""")
    page.locator(f"{TRY} .sample").first.click()
    found = answer(page)
    assert found["name"] == "lecun1989_zipcode.digits" and found["best"] in "0123456789"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_has_no_fault(open_page: Open, theme: str) -> None:
    """By axe-core, with everything open."""
    page = open_page("try.html", theme)
    draw(page, TRY, (.5, .15), (.5, .85))
    answer(page)
    open_all(page)
    page.wait_for_selector(f"{TRY} .near")
    assert faults(page) == []


def test_the_pad_takes_keys(open_page: Open) -> None:
    page = open_page("try.html", width=400)
    page.wait_for_selector(f"{TRY} .pad")
    page.locator(f"{TRY} .pad").focus()
    for key in ("Space", *["ArrowDown"] * 20, "Space"):
        page.keyboard.press(key)
    page.wait_for_timeout(200)
    assert answer(page)["best"] == "1"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_lenet_shows_its_maps_and_distances_in_chapter_1(open_page: Open) -> None:
    page = open_page("chapter/01-lenet.html")
    draw(page, LENET, (.5, .15), (.3, .3), (.3, .7), (.5, .85), (.7, .7), (.7, .3), (.5, .15))
    page.wait_for_selector(f"{LENET} .layer canvas")
    settled(page)
    assert page.locator(f"{LENET} .told").inner_text().startswith("0: F6 is ")
    far = page.locator(f"{LENET} .shares dd span").all_inner_texts()
    assert len(far) == 10 and min(far, key=float) == far[0]
    assert page.locator(f"{LENET} .layer").count() >= 7
