"""Data of the chapters and of the experiments' pages, told by the library: specifications, statements, results."""

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
from markupsafe import Markup

from ... import facts
from ...data.embedded import folder
from ...draw.markup import prose
from ...draw.plots import svg
from ...experiments import about, experiment, names
from ...experiments.machinery import page as results
from ...experiments.machinery.kept import MARKS, kept, looked_into, name_of, said
from ...experiments.machinery.plan import Experiment
from ...experiments.machinery.statements import OPENING, Statement, answers, networks, statements
from ...experiments.machinery.statements import results as found
from ...experiments.machinery.verdict import Verdict
from ...files import along
from ...net import registry
from ...net.card import plain
from ...run import written
from ...scale.compound import PAPER
from ..build import Asset, Page, Wanted, given
from ..networks import SCRIPTS as RUNNING
from ..told import account
from . import CHAPTERS, Chapter, Difference, Side

PICTURES = (("stained cells", "0607"), ("stained tissue", "0487"), ("fluorescence", "0129"))     # of data/nuclei/test
DIGITS = 1200               # 8×8 digits that the chapters' small networks learn from
BRANCHED, BLOCK = "repvgg_a0.fashion-small", "stages.1.1.conv"      # a trained block with all three branches
PIECES = (0, 1, 9)          # classes whose first pictures it is shown
LECTURE, EXPERIMENTS = "Lecture", "Experiments"       # in the navigation
STYLES, SCRIPTS = ("chapters",), ("chapters",)
LIVE = ("lenet", "squeeze-and-excitation")       # chapters in which a network runs
LONG = 60                   # characters of a field's value from which on a table of differences is stacked


def chapters(wanted: Wanted) -> Iterator[Page | Asset]:
    """The twelve chapters, their contents, and the data that they compute from."""
    wanted.tell("chapters")
    yield given("digits8", digits())
    yield given("branches", branches())
    yield given("pictures", [{"name": name, "source": picture(number)} for name, number in PICTURES])
    yield Page("chapters.html", "chapters/contents.html.j2", "The lecture in twelve chapters",
               {"chapters": CHAPTERS, "opening": claims_of(OPENING), "total": len(statements())},
               "Twelve chapters to touch, one per section of a lecture.", styles=STYLES,
               nav=LECTURE)
    for chapter in CHAPTERS:
        yield Page(f"chapter/{chapter.name}.html", f"chapters/{chapter.name}.html.j2", chapter.title,
                   of_chapter(chapter, wanted), chapter.idea, (*RUNNING, *SCRIPTS) if chapter.slug in LIVE else SCRIPTS,
                   (*STYLES, "running"), section=LECTURE,
                   inline=INLINE.get(chapter.slug, dict)())


def experiments(wanted: Wanted) -> Iterator[Page]:
    """A page for each kept result, and one of all experiments."""
    wanted.tell("experiments")
    stored = kept()
    words = Counter(verdict["word"] for each in stored.values() for verdict in each["verdicts"])
    done = {each["experiment"] for each in stored.values()}
    chapter_of = {name: chapter for chapter in CHAPTERS for name in experiments_of(chapter.section)}
    rows = [(name, titled(experiment(each["experiment"]), each), each, experiment(each["experiment"]),
             chapter_of[each["experiment"]]) for name, each in stored.items()]
    planned = [(name, experiment(name), chapter_of[name]) for name in names() if name not in done]
    yield Page("experiments.html", "chapters/experiments.html.j2", "The lecture, put to the test",
               {"rows": rows, "words": words, "marks": MARKS, "planned": planned, "said": said},
               "What the lecture claims, tried on small data, with intervals and verdicts.", styles=STYLES,
               nav=EXPERIMENTS)
    for name, each in stored.items():
        own = experiment(each["experiment"])
        told = results.told(name, about(each["experiment"]), own, own.protocol(each["size"]), each, verdicts(each),
                            drawn(name))
        yield Page(f"experiment/{name}.html", "chapters/experiment.html.j2", titled(own, each),
                   {**{key: value for key, value in told.items() if key != "title"},
                    "note": looked_into().get(name, ""), "chapter": chapter_of[each["experiment"]]},
                   f"{own.title} {own.paper}, tried again.", styles=STYLES, section=EXPERIMENTS)


def of_chapter(chapter: Chapter, wanted: Wanted) -> dict[str, Any]:
    """The values of a chapter's template."""
    place = CHAPTERS.index(chapter)
    stored = {name: each for name, each in kept().items() if each["experiment"] in experiments_of(chapter.section)}
    claims = claims_of(chapter.section)
    return {
        "chapter": chapter, "chapters": len(CHAPTERS),
        "before": CHAPTERS[place - 1] if place else None,
        "after": CHAPTERS[place + 1] if place + 1 < len(CHAPTERS) else None,
        "variants": [each for each in wanted.variants if each.family in chapter.families],
        "differences": [difference(each) for each in chapter.differences],
        "tried": [tried(name, each) for name, each in stored.items()],
        "planned": [(name, experiment(name)) for name in experiments_of(chapter.section)
                    if name not in {each["experiment"] for each in stored.values()}],
        "claims": claims,
        "kinds": Counter(kind for _, here in claims for kind in dict.fromkeys(kind for kind, _ in here)),
        "of": account, "published": published, "net": linked, "marks": MARKS,
    }


def claims_of(section: str) -> list[tuple[Statement, list[tuple[str, Markup]]]]:
    """Statements of that section of claims.yaml, each with the kinds and texts of its answers."""
    return [(claim, [(kind, inline(text)) for kind, text in answers(claim, checked(), found())])
            for claim in statements() if claim.section == section]


@cache
def experiments_of(section: str) -> tuple[str, ...]:
    """Experiments whose first statement behind the opening is of that section of claims.yaml."""
    first: dict[str, Statement] = {}
    for claim in statements():
        for name in claim.reproduce if claim.section != OPENING else ():
            first.setdefault(name, claim)
    return tuple(name for name, claim in first.items() if claim.section == section)


def titled(own: Experiment, stored: Mapping[str, Any]) -> str:
    """The experiment's question, and of what is not its quick form the size and the data."""
    images = stored["protocol"]["images"]
    on = f", on {images['source']}" if images else ""
    return own.title if stored["size"] == "quick" else f"{own.title} ({stored['size']} form{on})"


def tried(name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A kept result as a chapter tells it."""
    own = experiment(stored["experiment"])
    return {"name": name, "title": titled(own, stored), "paper": own.paper, "stored": stored,
            "picture": Markup(drawn(name)), "verdicts": [(verdict, said(verdict)) for verdict in verdicts_of(stored)],
            "note": looked_into().get(name, "")}


def verdicts_of(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Verdicts as plain values, each with its sentence."""
    return [{**each, "sentence": verdict.sentence}
            for each, verdict in zip(stored["verdicts"], verdicts(stored), strict=True)]


def verdicts(stored: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """The verdicts that a file holds."""
    return tuple(Verdict(**{**each, "effects": tuple(each["effects"])}) for each in stored["verdicts"])


@cache
def drawn(name: str) -> str:
    """The picture of a kept result as SVG for a page, in its colours."""
    stored = kept()[name]
    own = experiment(stored["experiment"])
    assert name_of(stored) == name
    return svg(own.picture(results.results_of(stored)), name, f"{own.title} The verdicts stand beside it.")


@cache
def checked() -> tuple[facts.Verdict, ...]:
    """Published figures of all networks that the statements speak of, beside what is computed."""
    return tuple(facts.Verdict(**each) for name in networks() for each in account(name)["facts"])


def published(name: str, fact: str, place: int = 0) -> Any:
    """A published figure of a variant; of several the one at `place`. A LookupError where there is none."""
    return [each["published"] for each in account(name)["facts"] if each["fact"] == fact][place]


def linked(name: str) -> Markup:
    """A variant's name as a link from a chapter to its page."""
    return Markup('<a href="../network/{0}.html"><code>{0}</code></a>').format(account(name)["name"])


def specification(side: Side) -> dict[str, Any]:
    """The fields of a side as plain values."""
    return plain(registry.change(registry.variant(side.variant).spec, side.changes, side.variant))


def difference(each: Difference) -> dict[str, Any]:
    """A difference field by field: name, before, after, whether one of the two is set by hand; how many are equal."""
    before, after = specification(each.before), specification(each.after)
    fields = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    rows = [(name, _written(before, name), _written(after, name)) for name in fields]
    return {"says": each.says, "before": each.before, "after": each.after, "rows": rows,
            "long": any(len(text) > LONG for _, *texts in rows for text in texts),
            "same": len({**before, **after}) - len(fields)}


def _written(fields: Mapping[str, Any], name: str) -> str:
    return written(fields[name]) if name in fields else "–"


def inline(text: str) -> Markup:
    """A line of the claims page as markup: code, emphasis, and links by their words alone."""
    parts = re.split(r"\*([^*`]+)\*", re.sub(r"\[([^\]]+)\]\([^)]+\.\w+\)", r"\1", text))
    return Markup("").join(Markup("<em>{}</em>").format(part) if i % 2 else prose(part) for i, part in enumerate(parts))


def digits() -> dict[str, Any]:
    """The first digits of 8×8 pixels, a byte of 0 to 16 each, and their labels."""
    with folder("digits").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"][:DIGITS], arrays["labels"][:DIGITS]
    return {"pixels": base64.b64encode(images.astype(np.uint8).tobytes()).decode(), "labels": labels.tolist()}


def branches() -> dict[str, Any]:
    """A trained RepVGG block, branch by branch, and the maps that three pictures give it."""
    import torch  # heavy
    from torch import Tensor

    from ...data.embedded import read_fashion  # imports torch
    from ...weights.checkpoints import load  # the same
    from ...zoo import transforms  # the same

    def text(values: Tensor) -> str:
        return base64.b64encode(values.detach().numpy().astype("<f4").tobytes()).decode()

    net = load(along()[BRANCHED]).eval()
    block = net.get_submodule(BLOCK)
    state, norms = block.state_dict(), {"three": "large.norm", "point": "small.norm", "skip": "skip"}
    skip = block.get_submodule("skip")
    assert isinstance(skip, torch.nn.BatchNorm2d)
    pictures = read_fashion().val
    assert pictures is not None
    firsts = [pictures.labels.tolist().index(label) for label in PIECES]
    seen: list[Tensor] = []
    hook = block.register_forward_hook(lambda module, read, made: seen.append(read[0]))
    with torch.inference_mode():
        net(torch.stack([transforms(net)(pictures.read(at)) for at in firsts]))
    hook.remove()
    channels, side, _ = seen[0].shape[1:]
    return {"channels": channels, "side": side, "eps": skip.eps, "pictures": [net.card.classes[i] for i in PIECES],
            "inputs": [text(one) for one in seen[0]],
            "three": text(state["large.conv.weight"]), "point": text(state["small.conv.weight"]),
            "norms": {part: {"gamma": text(state[f"{norm}.weight"]), "beta": text(state[f"{norm}.bias"]),
                             "mean": text(state[f"{norm}.running_mean"]),
                             "variance": text(state[f"{norm}.running_var"])} for part, norm in norms.items()}}


def picture(number: str) -> str:
    """A shipped picture as a data address."""
    content = folder("nuclei").joinpath("test", "images", f"{number}.png").read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def compound() -> dict[str, Any]:
    """Data of the chapter on compound scaling: Table 1, the paper's coefficients, the published networks."""
    ladder = [account(f"efficientnet_b{i}") for i in range(8)]
    spec: Sequence[Any] = ladder[0]["spec"]["table"]
    return {"table": spec, "ratio": ladder[0]["spec"]["se_ratio"],
            "coefficients": asdict(PAPER),
            "published": [{key: each[key] for key in ("name", "params", "macs")} for each in ladder]}


INLINE = {"efficientnet": compound}     # a chapter's own data, by its slug
