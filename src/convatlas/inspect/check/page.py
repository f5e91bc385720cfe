"""The page of a check: one file that opens anywhere, without network, scripts or files beside it."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from ...data import UnreadableImage
from ...draw import plots
from ...draw.markup import counted
from ...files import put
from ...version import __version__
from ..report import CRISP, SHOWN, environment
from .checked import Checked, Twins
from .label_errors import PRECISION
from .opened import LEARNED

# most groups, pictures of one, labels, rows of a table, and pictures of one oddity that are shown
GROUPS, MEMBERS, ERRORS, LISTED, OF_ODD = 24, 6, 60, 100, 12
TITLES = {
    "parts": ("Leaks", "One picture in two parts: what is trained on is judged on. Remove it from one of them."),
    "classes": ("One picture, two classes", "At least one of the labels is wrong, or the classes overlap."),
    "within": ("Duplicates", "In one class of one part: they weigh more than others, and do no other harm."),
}


def write_page(found: Checked, path: Path, run: Path | None = None) -> Path:
    """Write the page, replacing an older one, and return its path. Pictures shown are read again; their number is
    bounded. Raises ConvatlasError where `path` cannot be written.
    """
    rows, census = found.per_class(), found.census
    judged = census.readable[found.judged[census.readable]]
    sizes = Counter(map(tuple, census.size[judged].tolist()))
    largest = max((sum(counts.values()) for _, counts in rows), default=0)
    words = [found.opened.name, *([str(run)] if run else [])]
    command = f"convatlas data check {shlex.join(words)}"
    page = environment().get_template("check/check.html.j2").render(
        name=found.opened.name, kind=found.opened.kind, version=__version__, command=command,
        total=sum(found.parts.values()), findings=found.findings(), facts=_facts(found, sizes),
        notes=found.opened.notes, parts=list(found.parts), rows=rows, largest=largest, LISTED=LISTED,
        unreadable=[(_where(found.name(i)), found.place(i)[0].name, _reason(why, found.name(i)))
                    for i, why in list(census.unreadable.items())[:LISTED]], broken=len(census.unreadable),
        twins=[(*TITLES[across], *_twins(found, across)) for across in TITLES], limit=found.near_limit,
        errors=[{**_shot(found, each.index), "given": each.given, "other": each.other, "share": each.probability}
                for each in found.errors[:ERRORS]], suspected=len(found.errors), probe=found.probe, expected=PRECISION,
        # what all have needs no examples
        odd=[(what, count, [_shot(found, i) for i in census.examples[what][:OF_ODD]] if count < len(judged) else [])
             for what, count in census.odd.most_common()],
        sizes=[(f"{width} × {height}", count) for (height, width), count in sizes.most_common(8)],
        kinds_of_size=len(sizes), forms=census.forms.most_common(), seen=len(judged), SHOWN=SHOWN)
    put(path, page, "name another file with --out")
    return path


def _facts(found: Checked, sizes: Counter[tuple[int, ...]]) -> dict[str, str]:
    facts = {"Layout": found.opened.layout, **{f"Part {part!r}": counted(count, "image")
                                               for part, count in found.parts.items()}}
    learned = sum(len(part.images) for part in found.opened.parts if not part.judged)
    if learned:
        facts["Beside them"] = f"{learned:,} {LEARNED}"
    facts["Classes"] = f"{len(found.opened.classes):,}"
    if sizes:
        heights, widths = ([size[axis] for size in sizes] for axis in (0, 1))
        least, most = (f"{way(widths)} × {way(heights)}" for way in (min, max))
        facts["Width × height"] = least if least == most else f"{least} to {most}"
    if found.census.bytes:
        facts["Files"] = f"{found.census.bytes / 1e6:,.1f} MB"
    return facts


def _twins(found: Checked, across: str) -> tuple[list[dict[str, Any]], int]:
    """Groups of both kinds, those with the same pixels first, and how many there are."""
    groups = [each for each in (*found.exact, *found.near) if each.across == across]
    return [_group(found, each) for each in groups[:GROUPS]], len(groups)


def _group(found: Checked, twins: Twins) -> dict[str, Any]:
    shown = list(twins.members[:MEMBERS])
    if twins.across == "parts" and len(twins.members) > MEMBERS:        # one of each part, at least
        first = {found.place(i)[0].name: i for i in reversed(twins.members)}
        shown = sorted({*first.values(), *shown[: MEMBERS - len(first)]})
    return {"distance": twins.distance, "more": len(twins.members) - len(shown),
            "shots": [_shot(found, i) for i in shown]}


def _shot(found: Checked, index: int) -> dict[str, Any]:
    """A picture with its place; None for the picture where it cannot be read any more."""
    part, place = found.place(index)
    told = {"where": _where(found.name(index)), "part": part.name, "label": found.label(index)}
    try:
        image = plots.to_image(part.images.read(place))
    except (UnreadableImage, OSError):
        return told | {"picture": None, "crisp": False}
    crisp = max(image.size) <= CRISP
    image.thumbnail((SHOWN, SHOWN))
    return told | {"picture": plots.data_uri(image), "crisp": crisp}


def _where(name: str) -> str:
    """Enough to find it; the rest of the path stays private."""
    return "/".join(Path(name).parts[-2:])


def _reason(why: str, name: str) -> str:
    return why.removeprefix(f"cannot read the image {name!r}: ").replace(name, Path(name).name)

