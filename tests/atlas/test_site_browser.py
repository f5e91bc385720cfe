"""The site in a real browser: a quiet console, no request to elsewhere, no fault by axe-core, all of it by keyboard."""

import re
from urllib.parse import quote

import pytest
from visiting import CLASSES, FEW, Open, Site, settled

from convatlas import known

pytestmark = pytest.mark.browser

PAGES = ("index.html", "networks.html", "compare.html?a=resnet18&b=resnet50", "lineage.html", "run/b-run.html")


def faults(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:160]}"
            for each in Axe().run(page).response["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, "network/resnet18.html", "network/unet.html"])
def test_a_page_has_no_fault(path: str, theme: str, open_page: Open) -> None:
    page = open_page(path, theme)
    settled(page)
    assert faults(page) == []
    page = open_page(path, theme, width=360)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", [*PAGES, *(f"network/{name}.html" for name in FEW)])
def test_a_page_opens_from_disk(path: str, open_page: Open) -> None:
    page = open_page(path, file=True)
    settled(page)
    assert page.locator("h1").count() == 1


def test_every_page_that_the_site_has_loads(site: Site, open_page: Open) -> None:
    """Those of the variants one for each architecture, or all with -m 'browser and slow'."""
    names = {}
    for each in known.listed() or ():
        names.setdefault(each.family, each.name)
    left_out = {f"{each.name}.html" for each in known.listed() or ()} - {f"{name}.html" for name in names.values()}
    paths = [path for path in sorted(site.folder.rglob("*.html"))
             if path.parent.name != "network" or path.name not in left_out]
    assert len(paths) > len(names)
    page = open_page("index.html")
    for path in paths:
        page.goto(site.address + quote(path.relative_to(site.folder).as_posix()))
        settled(page)


@pytest.mark.slow
def test_every_variant_s_page_loads_and_has_its_diagram(site: Site, open_page: Open) -> None:
    page = open_page("index.html")
    for each in known.listed() or ():
        page.goto(f"{site.address}network/{each.name}.html")
        settled(page)
        assert page.locator("h1").inner_text() == each.name
        assert page.locator(".stagebox .box").count() > 0


def test_every_variant_has_its_page(site: Site) -> None:
    assert {path.stem for path in (site.folder / "network").iterdir()} == {each.name for each in known.listed() or ()}


def shown(page) -> list[str]:
    return page.locator("#list tbody tr:visible th").all_inner_texts()


def test_search_filters_and_order(open_page: Open) -> None:
    page = open_page("networks.html")
    everything = shown(page)
    assert len(everything) == len(known.listed() or ())
    page.keyboard.press("/")
    page.keyboard.type("dense cifar")
    assert {name.rsplit("_", 1)[1] for name in shown(page)} == {"cifar"} and len(shown(page)) == 8
    page.keyboard.press("Escape")
    page.get_by_label("Uses").select_option("gates")
    page.get_by_label("Parameters, at most").fill("6M")
    found = {each.name: each for each in known.listed() or ()}
    gated = shown(page)
    assert "mobilenet_v3_small" in gated and all(found[name].params <= 6e6 for name in gated)
    page.get_by_role("button", name="parameters").focus()
    page.keyboard.press("Enter")
    assert shown(page) == sorted(gated, key=lambda name: (found[name].params, name)) != gated
    page.keyboard.press("Enter")
    assert [found[name].params for name in shown(page)] == sorted((found[n].params for n in gated), reverse=True)
    again = page.url
    assert "part=gates" in again
    page.reload()
    assert set(shown(page)) == set(gated)
    page.get_by_label("from year").fill("2030")
    assert shown(page) == [] and page.get_by_text("No network fits").is_visible()
    page.get_by_role("button", name="Clear").click()
    page.locator("#list tbody tr:not([hidden])").nth(200).wait_for()
    assert len(shown(page)) == len(everything)


def test_any_two_are_compared(open_page: Open) -> None:
    page = open_page("compare.html?a=resnet18&b=plain18")
    page.wait_for_selector("[data-shown='resnet18 plain18']")
    fields = page.get_by_role("region", name="Specification").locator("tbody tr")
    assert [row.split()[0] for row in fields.all_inner_texts()] == ["shortcut"]
    first = page.get_by_label("First network")
    first.fill("lenet5")
    first.press("Enter")
    first.press("Tab")
    page.wait_for_selector("[data-shown='lenet5 plain18']")
    cost = page.get_by_role("region", name="Cost").inner_text()
    assert "60\u202f000" in cost and page.url.endswith("?a=lenet5&b=plain18")
    page.get_by_role("button", name="Swap").click()
    page.wait_for_selector("[data-shown='plain18 lenet5']")
    first.fill("lenet55")
    first.press("Tab")
    assert "There is no network “lenet55”" in page.get_by_role("status").first.inner_text()


def test_a_diagram_by_keyboard(open_page: Open) -> None:
    page = open_page("network/resnet18.html")
    settled(page)
    drawing = page.get_by_role("application", name=re.compile("^Diagram of resnet18"))
    drawing.focus()
    told = page.locator(".told h3")
    page.keyboard.press("Home")
    assert told.inner_text() == "stem.conv"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert told.inner_text() == "stages.0.0.branch.conv1.conv"
    layer = next(row for row in known.account("resnet18")["layers"] if row["name"] == told.inner_text())
    assert "64×56×56" in page.locator(".told").inner_text() and layer["output"] == [64, 56, 56]
    assert f"sees {layer['receptive_field']}×{layer['receptive_field']} of" in page.locator(".sees").inner_text()
    assert page.locator("tr.marked code").inner_text() == told.inner_text()
    before = page.locator(".stagebox svg > g").first.get_attribute("transform")
    page.keyboard.press("+")
    assert page.locator(".stagebox svg > g").first.get_attribute("transform") != before
    page.keyboard.press("End")
    assert told.inner_text() == "head.classifier"


def test_a_diagram_by_pointer(open_page: Open) -> None:
    page = open_page("network/densenet264.html")
    settled(page)
    drawing = page.locator(".stagebox > svg").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    group = page.locator(".stagebox svg > g").first
    before = group.get_attribute("transform")
    page.mouse.move(box["x"] + 600, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 150, steps=4)
    page.mouse.up()
    assert group.get_attribute("transform") != before
    assert page.locator(".stagebox *").count() < 500


def test_the_lineage_says_which_field_it_is(open_page: Open) -> None:
    page = open_page("lineage.html")
    settled(page)
    page.get_by_role("button", name="resnext50_32x4d, 2017").focus()
    page.keyboard.press("Enter")
    said = page.locator(".saying").inner_text()
    assert "resnext50_32x4d took grouped convolution from alexnet: field groups 32" in said
    page.get_by_label("Idea", exact=True).select_option("channel gates")
    said = page.locator(".saying").inner_text()
    assert "efficientnet_b0 took channel gates from se_resnet50: field se_ratio 0.25" in said


def test_a_run_s_page_shows_names_as_text(open_page: Open) -> None:
    page = open_page("run/b-run.html")
    settled(page)
    assert page.locator("h1").inner_text() == "<b>run" and page.locator("img[src=x]").count() == 0
    assert CLASSES[0] in page.locator(".matrix").inner_text()
    cell = page.locator(".matrix button:not([disabled])").first
    cell.focus()
    page.keyboard.press("Enter")
    count = int(cell.inner_text())
    shots = page.locator("[data-widget='confusion'] .shots li")
    assert shots.count() == count and "<b>" in shots.first.inner_text()
    assert shots.first.locator("img").evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 16
    page.get_by_role("application", name=re.compile("^Map of")).focus()
    before = page.locator(".shot").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator(".shot").inner_text() != before


def test_the_theme_is_kept_and_commands_are_copied(open_page: Open) -> None:
    page = open_page("network/lenet5.html")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Switch to dark colours").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
