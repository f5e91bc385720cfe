"""The builder of the atlas: pages from templates, scripts and styles put together, and the folder written whole.

What a site is made of are two kinds of values: a `Page`, which a template turns into HTML, and an `Asset`, which is
written as it is. Each chapter of the site is a function in `PARTS` that makes them; nothing else knows of it.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as having
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import known
from ..draw.markup import COLORS, clean, counted, lines, prose
from ..draw.numbers import exact, short
from ..errors import ConvatlasError
from ..files import writing
from ..version import __version__

HERE = Path(__file__).parent
SITE = "convatlas"              # the name in the corner of every page
MARK = "atlas.json"             # tells a folder that was built here; it may be replaced
FRONT = HERE / "front"
RESULTS = HERE.parent / "experiments" / "machinery"     # the template of an experiment's results


@dataclass(frozen=True)
class Page:
    """A page of the site; `told` are its template's values, `inline` what its scripts read with `atlas.data()`."""

    path: str                               # "network/lenet5.html"
    template: str                           # in pages/, or "chapters/…"
    title: str
    told: Mapping[str, Any] = having(default_factory=dict)
    about: str = ""                         # one sentence, for search engines
    scripts: Sequence[str] = ()             # of script/, besides atlas.js
    styles: Sequence[str] = ()              # of style/, besides base.css
    inline: Any = None
    nav: str = ""                           # its label in the navigation; none: it is not there
    section: str = ""                       # the label it belongs to, if it is not in the navigation itself


@dataclass(frozen=True)
class Asset:
    """A file of the site that no template makes."""

    path: str
    content: bytes | str


@dataclass(frozen=True)
class Wanted:
    """Choices of who builds a site."""

    runs: Sequence[Path] = ()               # run folders that get a page each
    weights: Sequence[Path] = ()            # networks that shall run in the page besides those that come along
    tell: Callable[[str], None] = lambda text: None         # hears what is being done
    only: Sequence[str] = ()                # variants that get a page; none named: all

    @cached_property
    def variants(self) -> list[known.Listed]:
        """Every variant, in the order of names."""
        found = known.listed()
        if found is None:
            from .. import zoo  # builds every network; only where an architecture has been added or changed

            found = zoo.listed()
        return sorted((each for each in found if not self.only or each.name in self.only), key=lambda each: each.name)


@dataclass(frozen=True)
class Built:
    """Account of a site that was written."""

    folder: Path
    pages: int
    files: int
    size: int                               # bytes
    seconds: float


Part = Callable[[Wanted], Iterable[Page | Asset]]


def given(name: str, value: Any) -> Asset:
    """A data file that pages load by `atlas.load(name)`."""
    return Asset(f"data/{name}.js", f"atlas.give({_json(name)}, {_json(value)});\n")


def build(out: Path, wanted: Wanted, parts: Sequence[Part]) -> Built:
    """Write the site of these parts into the folder `out`, which replaces an older one there and nothing else.

    Raises ConvatlasError where `out` holds anything but a site, or cannot be written.
    """
    begun = time.perf_counter()
    _check(out)
    things = [thing for part in parts for thing in part(wanted)]
    pages = [thing for thing in things if isinstance(thing, Page)]
    files = {thing.path: thing.content for thing in things if isinstance(thing, Asset)}
    files |= {asset.path: asset.content for asset in _front()}
    nav = [(page.nav, page.path) for page in pages if page.nav]
    surroundings = environment()
    for page in pages:
        files[page.path] = _html(surroundings, page, nav)
    files[MARK] = json.dumps({"atlas": 1, "convatlas": __version__}) + "\n"
    size = _write(out, files)
    return Built(out, len(pages), len(files), size, time.perf_counter() - begun)


def environment() -> Environment:
    """The templates' surroundings: all text is cleaned, then escaped; only `Markup` passes as it is."""
    made = Environment(loader=FileSystemLoader([HERE / "pages", HERE, RESULTS]), autoescape=True,
                       finalize=lambda value: clean(value) if type(value) is str else value,    # Markup is a str too
                       undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"exact": _exact, "short": short, "counted": counted, "prose": prose, "lines": lines}
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return made


def _exact(number: float) -> Markup:
    """60000 as '60 000', which no line break divides."""
    return Markup(exact(number).replace(" ", "\u202f"))


def _html(surroundings: Environment, page: Page, nav: Sequence[tuple[str, str]]) -> str:
    # above the page's own folder
    root = "../" * page.path.count("/")
    return surroundings.get_template(page.template).render(
        **page.told, site=SITE, version=__version__, root=root, nav=nav, section=page.nav or page.section,
        title=page.title, about=page.about, scripts=page.scripts, styles=page.styles, inline=page.inline)


def _front() -> Iterator[Asset]:
    """Scripts and styles: of front/NAME.js and the files of front/NAME/ one script/NAME.js, and so of styles."""
    for suffix, folder in ((".js", "script"), (".css", "style")):
        found: dict[str, list[Path]] = {}
        for path in sorted(FRONT.rglob(f"*{suffix}"), key=lambda path: (len(path.parts), path)):
            steps = path.relative_to(FRONT).parts
            found.setdefault(steps[0].removesuffix(suffix), [COLORS] if steps == ("base.css",) else []).append(path)
        for name, paths in found.items():
            yield Asset(f"{folder}/{name}{suffix}", "\n".join(path.read_text(encoding="utf-8") for path in paths))
    yield Asset("icon.svg", (FRONT / "icon.svg").read_text(encoding="utf-8"))


def _json(value: Any) -> str:
    """JSON that may stand in a script: no sign of it can end one."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _check(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise ConvatlasError(f"--out {str(out)!r} holds other things than an atlas: name a folder that is not there "
                             "yet")
    if out.exists() and not out.is_dir():
        raise ConvatlasError(f"--out {str(out)!r} is a file: name a folder")


def _write(out: Path, files: Mapping[str, str | bytes]) -> int:
    """Fill a folder beside `out` and put it in its place; bytes written."""
    mark = os.urandom(4).hex()
    fresh, old = out.with_name(f".{out.name}.{mark}"), out.with_name(f".{out.name}.{mark}.old")
    size = 0
    with writing(out, "make room there, or write to another folder"):
        try:
            for path, content in files.items():
                content = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                (fresh / path).write_bytes(content)
                size += len(content)
            if out.exists():
                out.replace(old)
            fresh.replace(out)
        finally:
            if old.exists() and not out.exists():
                old.replace(out)
            for left in (fresh, old):
                shutil.rmtree(left, ignore_errors=True)
    return size
