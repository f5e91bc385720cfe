"""The chapters: that they tell the whole lecture, by what the library says."""

import base64
from io import BytesIO
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from convatlas import known
from convatlas.atlas import builder
from convatlas.atlas.chapters import CHAPTERS, Difference, Side, told
from convatlas.data.embedded import folder
from convatlas.errors import ConvatlasError
from convatlas.experiments import names
from convatlas.experiments.machinery.kept import kept
from convatlas.experiments.machinery.statements import OPENING, statements
from convatlas.scale.compound import PAPER
from convatlas.weights import shipped
from lines import words_of


def test_there_is_a_chapter_per_section_of_the_lecture_in_its_order():
    assert [chapter.section for chapter in CHAPTERS] == list(dict.fromkeys(
        claim.section for claim in statements() if claim.section != OPENING))
    assert [chapter.number for chapter in CHAPTERS] == list(range(1, 13))


def test_every_network_and_every_experiment_has_its_chapter():
    assert sorted(chain(*(chapter.families for chapter in CHAPTERS))) == sorted(known.families())
    assert sorted(chain(*(told.experiments_of(chapter.section) for chapter in CHAPTERS))) == sorted(names())


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.slug)
def test_its_differences_are_of_specifications_that_can_be_built(chapter):
    for each in chapter.differences:
        found = told.difference(each)
        assert found["rows"] and all(before != after for _, before, after in found["rows"])
        assert found["same"] or "densenet" in each.before.variant
    changed = {name for each in chapter.differences for side in (each.before, each.after) for name in side.changes}
    shown = {name for each in chapter.differences for name, *_ in told.difference(each)["rows"]}
    assert changed <= shown     # what is set by hand is what differs


def test_a_difference_is_told_field_by_field_and_a_wrong_field_is_refused():
    found = told.difference(Difference(Side("plain56_cifar"), Side("resnet56_cifar"), "says"))
    assert found["rows"] == [("shortcut", "none", "A")] and found["same"] == 10
    gates = told.difference(Difference(Side("resnet50"), Side("resnet50", {"excite": {"reduction": 8}}), "says"))
    assert [(name, before) for name, before, _ in gates["rows"]] == [("excite", "null")]
    with pytest.raises(ConvatlasError, match="shortcuts"):
        told.difference(Difference(Side("resnet50"), Side("resnet50", {"shortcuts": "A"}), "says"))


@pytest.mark.parametrize("line", [command for chapter in CHAPTERS for command in chapter.commands])
def test_its_commands_are_there(line):
    words = words_of(line)
    known_names = {each.name for each in known.listed() or ()} | {each.name for each in shipped()} | {*names()}
    given = [each for each in words if each[0].isalpha() and "=" not in each]
    assert set(given) <= known_names | {"digits", "nuclei", "photos/", "runs/RUN"}, line


def test_what_the_pages_compute_from_is_what_comes_along():
    stored = told.digits()
    pixels = np.frombuffer(base64.b64decode(stored["pixels"]), np.uint8)
    assert len(pixels) == 64 * len(stored["labels"]) and pixels.max() == 16
    with folder("digits").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        assert np.array_equal(pixels.reshape(-1, 8, 8), arrays["images"][:len(stored["labels"])])
        assert stored["labels"] == arrays["labels"][:len(stored["labels"])].tolist()
    for _, number in told.PICTURES:
        head, _, content = told.picture(number).partition(",")
        assert head == "data:image/png;base64" and Image.open(BytesIO(base64.b64decode(content))).size == (160, 160)
    scaling = told.compound()
    assert scaling["coefficients"] == vars(PAPER) and len(scaling["published"]) == 8
    assert scaling["published"][7]["macs"] == 37_745_884_192


def test_claims_are_told_as_text():
    assert told.inline("<b> `a<b` *holds*: see [a picture](images/x.svg)") == (
        "&lt;b&gt; <code>a&lt;b</code> <em>holds</em>: see a picture")
    assert told.published("lenet5", "c3_links") == 60
    with pytest.raises(LookupError):
        told.published("lenet5", "c4_links")


def test_results_in_the_package_are_whole():
    for name, each in kept().items():
        assert each["command"].startswith("convatlas reproduce "), name
        assert [verdict.word for verdict in told.verdicts(each)] == [one["word"] for one in each["verdicts"]]


def test_a_chapter_is_a_page(tmp_path):
    name = "05-all-convolutional"

    def only(wanted):
        return (thing for thing in told.chapters(wanted) if thing.path.endswith((f"{name}.html", ".js")))

    built = builder.build(tmp_path / "site", builder.Wanted(), [only])
    page = (tmp_path / "site" / "chapter" / f"{name}.html").read_text(encoding="utf-8")
    assert built.pages == 1 and "{{" not in page and "Undefined" not in page
    for claim in statements():
        assert (f'id="statement-{claim.number}"' in page) == (claim.section == CHAPTERS[int(name[:2]) - 1].section)
