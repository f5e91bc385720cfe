"""Words that the browser tests share: the site, its opener, and the wait until a page has settled."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Page

FEW = ("lenet5", "lenet5_modern", "googlenet", "resnet18", "resnet50", "unet", "vgg16", "alexnet", "mobilenet_v2")
CLASSES = ("<img src=x onerror=alert(1)>", "plain & simple")      # names of folders, of a run, and of its files


class Site(NamedTuple):
    folder: Path
    run: Path                   # of which it has a page
    address: str = ""           # where it is served


Open = Callable[..., "Page"]


def settled(page: "Page") -> None:
    """Go down the page, so that everything on it begins, and wait until it is ready."""
    from playwright.sync_api import expect

    page.evaluate("""async () => {
        for (let y = 0; y < document.body.scrollHeight; y += 600) {
            scrollTo(0, y);
            await new Promise(requestAnimationFrame);
        }
        scrollTo(0, 0);
    }""")
    # by a selector: wait_for_function looks again by eval, which the pages' content policy forbids
    expect(page.locator(".widget[data-started]:not([data-ready])")).to_have_count(0)
