"""One page per run: whole, closed, harmless, and right in its figures."""

import csv
import re
from html.parser import HTMLParser

import pytest
import torch

from convatlas.data.images import Tensors, UnreadableImage
from convatlas.engine.evaluate import Evaluation
from convatlas.engine.metrics import confusion
from convatlas.engine.records import COLUMNS
from convatlas.errors import ConvatlasError
from convatlas.inspect.report import MISTAKES, write_report
from convatlas.net.layers import Layer
from convatlas.run import Data, Model, Run

VOID = {"meta", "img", "br", "link", "input", "hr", "col"}
LAYERS = [
    Layer("stem.conv", "Conv2d", (6, 28, 28), "5×5", 156, 117_600, 122_304),
    Layer("stem.act", "Tanh", (6, 28, 28), "", 0, 0, 0),
    Layer("head", "Linear", (10,), "", 844, 840, 850),
]
HOSTILE = "<script>alert('x')</script>&\"'$\\frac{1}$ 猫\x00\n\ud800"


class Page(HTMLParser):
    """What a page holds; fails on a tag that is not closed, or closed in the wrong order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def said(self):
        return " ".join("".join(self.text).split())


def images(count, channels=1, size=8, classes=10, name="set"):
    pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return Tensors(pixels, torch.arange(count) % classes, name)


def evaluation(labels, wrong, classes, skipped=0, outputs=None):
    """The first `wrong` images taken for the next class, the later the more confidently."""
    predictions = labels.clone()
    predictions[:wrong] = (labels[:wrong] + 1) % classes
    share = 1 - wrong / max(len(labels), 1)
    return Evaluation(0.05, share, 1.0, len(labels), skipped, confusion(labels, predictions, outputs or classes),
                      torch.arange(len(labels)), labels, predictions, predictions == labels,
                      torch.linspace(0.5, 0.9, len(labels)), 1000.0)


def metrics(folder, epochs):
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for epoch in range(1, epochs + 1):
            # the best epoch is the fifth: the later ones equal it with a worse loss
            top1 = 0.9 + 0.01 * min(epoch, 5)
            val_loss = 1 / epoch if epoch <= 5 else 0.5
            row = (epoch, epoch * 23, 0.1 / epoch, 1 / epoch, top1, val_loss, top1, 1, 900, epoch * 40)
            writer.writerow(dict(zip(COLUMNS, row, strict=True)))


@pytest.fixture
def write(tmp_path):
    """Write a report with whatever is unusual about it; gives the page and its text."""

    def report(count=60, wrong=3, classes=10, names=None, epochs=8, channels=1, size=8, filters=(6, 1, 5, 5), skipped=0,
               pictures=None, outputs=None, layers=LAYERS, run=None, title="lenet5 on digits", facts=None):
        metrics(tmp_path, epochs)
        pictures = pictures or images(count, channels, size, classes)
        path = write_report(
            tmp_path, run=run or Run(), title=title, idea="Convolve, then `pool`.", layers=layers,
            evaluation=evaluation(pictures.labels, wrong, classes, skipped, outputs), images=pictures,
            classes=names or [f"class {i}" for i in range(classes)],
            filters=torch.randn(filters) if filters else None, facts=facts or {"Departs": "Nothing."})
        assert (path == tmp_path / "report.html"
                and sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv", "report.html"])
        text = path.read_text(encoding="utf-8")
        return Page(text), text

    return report


def section(text, title):
    return re.search(rf"<h2>{title}</h2>(.*?)</section>", text, re.DOTALL)[1]


def test_headline_says_what_was_reached(write):
    page, _ = write(count=360, wrong=5, skipped=2)
    assert "98.61% validation accuracy: 355 of 360 pictures right, 5 wrong" in page.said
    assert "95 % interval 96.79 to 99.41 % (Wilson)" in page.said
    assert "best of 8 epochs, chosen on the same pictures" in page.said and "2 pictures could not be read" in page.said
    assert "Best epoch5 of 8" in page.said and "Took5 min 20 s" in page.said
    assert "Parameters1,000" in page.said and "Multiply-adds118,440" in page.said


def test_versions_and_date_come_from_the_config_and_the_command_repeats_the_run(tmp_path, write):
    write()
    head = "# convatlas 9.8.7, torch 6.5.4, Python 3.11.2, Linux x86_64, 2031-02-03 04:05 UTC\n"
    (tmp_path / "config.yaml").write_text(head + Run().to_yaml())
    pictures = images(10)
    write_report(tmp_path, run=Run(), title="t", idea="i", layers=LAYERS, evaluation=evaluation(pictures.labels, 0, 10),
                 images=pictures, classes=[str(i) for i in range(10)], filters=None, facts={})
    said = Page((tmp_path / "report.html").read_text()).said
    assert "9.8.7" in said and "6.5.4" in said and "2031-02-03 04:05 UTC" in said and "Linux" not in said
    assert f"convatlas train --config {tmp_path.name}/config.yaml" in said


def test_the_page_needs_nothing_else(write):
    page, text = write(channels=3, filters=(8, 3, 7, 7))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "embed", "base", "form")]
    assert "http://" not in text and "https://" not in text and "@import" not in text
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert name not in attrs or attrs[name].startswith(("data:image/png;base64,", "#"))
        assert not [name for name in attrs if name.startswith("on")]
    assert not re.search(r"url\((?!#)", text)
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert len(text) < 1_000_000


def test_ids_are_unique_and_every_reference_has_its_target(write):
    page, text = write()
    assert len(page.ids) == len(set(page.ids)) > 3
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)) and \
        {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)} == set(page.ids)


def test_the_same_run_gives_the_same_page(write):
    torch.manual_seed(1)
    first = write()[1]
    torch.manual_seed(1)
    assert write()[1] == first


def test_hostile_names_are_only_text(write):
    names = [f"{HOSTILE}{i}" for i in range(10)]
    run = Run(model=Model(name=HOSTILE.encode("utf-8", "ignore").decode()), data=Data(source="a/<b>x</b>"))
    page, text = write(names=names, run=run, title=HOSTILE, facts={HOSTILE: HOSTILE}, layers=[
        Layer(HOSTILE, HOSTILE, (1,), HOSTILE, 1, 1, 1)], pictures=images(60, name=f"dir/{HOSTILE}"))
    assert "<script" not in text and not page.all("script") and not page.all("b")[1:], "only the headline's own <b>"
    shown = "<script>alert('x')</script>&\"'$\\frac{1}$ 猫\ufffd \ufffd"
    assert page.said.count(f"{shown}3") >= 2 and shown in page.said
    assert "\x00" not in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"onload=\"x", "'></svg><i>", "{{ 7 * 7 }}",
                                  "a & b", "`rm`"])
def test_a_name_is_shown_as_it_is_wherever_it_stands(write, name):
    page, _ = write(names=[name, *"bcdefghij"], title=name, facts={name: "x"}, run=Run(data=Data(source=f"x{name}")),
                    layers=[Layer(name, name, (1,), name, 1, 1, 1)], pictures=images(60, name=name))
    assert page.said.count(name) >= 12 and not page.all("script")
    assert all(set(attrs) == {"style"} for attrs in page.all("i")), "only the bars' own <i>"
    assert not [attrs for _, attrs in page.tags if "onload" in attrs]


def test_curves_mark_the_best_epoch(write):
    _, text = write(epochs=8)
    curves = section(text, "Curves")
    assert curves.count("<svg") == 3
    assert "0.2 at epoch 5" in curves and "5 % at epoch 5" in curves and "0.0125 at epoch 8" in curves
    assert "validation" in curves and "training" in curves
    assert "#2460c4" not in curves and "var(--accent)" in curves        # colours follow the page's theme


def test_one_epoch(write):
    page, text = write(epochs=1)
    assert "single point" in page.said and "Best epoch1 of 1" in page.said and "chosen on the same" not in page.said
    ticks = re.findall(r">([\d.]+)</text>", section(text, "Curves").split("<svg")[1])
    assert "1" in ticks and "0.6" not in ticks, "an epoch is a whole number"


def test_no_rows(write):
    page, _ = write(epochs=0)
    assert "holds no whole epoch" in page.said and "Best epoch–" in page.said


def test_no_mistakes(write):
    page, text = write(wrong=0)
    assert "There are none: no mistake in 60 pictures." in page.said and "100% validation accuracy" in page.said
    assert "<img" not in section(text, "Most confident mistakes")


def test_most_confident_mistakes_come_first(write):
    page, text = write(count=60, wrong=40)
    shots = section(text, "Most confident mistakes")
    assert shots.count("<img") == MISTAKES and f"The {MISTAKES} most confident of 40 mistakes" in page.said
    sure = [float(value) for value in re.findall(r"([\d.]+)&nbsp;%", shots)]
    assert sure == sorted(sure, reverse=True) and sure[0] == pytest.approx(50 + 40 * 39 / 59, abs=0.06)
    assert "class 9&nbsp;→ <em>class 0</em>" in shots.split("</figure>")[0] and "set[39]" in shots.split("</figure>")[0]


def test_a_picture_that_has_gone_bad_since(write):
    class Gone(Tensors):
        def read(self, index):
            raise UnreadableImage("gone")

    pictures = images(60)
    _, text = write(pictures=Gone(pictures.images, pictures.labels))
    assert section(text, "Most confident mistakes").count("unreadable") == 3


def test_paths_are_shown_without_the_way_to_them(write):
    page, text = write(pictures=images(60, name="/home/someone/private/cats/1.jpg"))
    assert "cats/1.jpg" in page.said and "private" not in text


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_large_pictures_become_small(write, channels):
    _, text = write(channels=channels, size=300, count=12)
    assert section(text, "Most confident mistakes").count("<img") == 3 and len(text) < 400_000


@pytest.mark.parametrize("filters, said", [
    ((6, 1, 5, 5), "All 6 filters of stem.conv, 5×5 pixels: grey is zero"),
    ((100, 3, 5, 5), "The first 96 of 100 filters of stem.conv, 5×5 pixels: red, green and blue"),
    ((2, 16, 3, 3), "All 2 filters, 3×3 pixels: the mean over 16 channels"),    # 3×3 is not the first layer's kernel
])
def test_filters(write, filters, said):
    page, text = write(filters=filters)
    assert said in page.said and section(text, "First layer").count("<img") == min(filters[0], 96)


def test_no_filters(write):
    assert "First layer" not in write(filters=None)[0].said


def test_confusion_to_twenty_classes_has_numbers_and_a_table(write):
    _, text = write(count=60, wrong=13, classes=20)
    drawn = section(text, "Confusion")
    assert drawn.count("<svg") == 1 and drawn.count("<tr>") == 21 and ">class 19<" in drawn
    assert "<image" not in drawn and "66.7 %" in drawn


def test_per_class_figures(write):
    # 6 pictures of each class; class 0 is once taken for class 1, nothing else
    drawn = section(write(count=60, wrong=1)[1], "Confusion")
    row = {cells[0]: cells[1:]
           for cells in (re.findall(r"<td[^>]*>(.*?)</td>", line) for line in drawn.split("<tr>")[2:])}
    assert row["class 0"] == ["6", "83.3 %", "1", "100.0 %", ""]
    assert row["class 1"] == ["6", "100.0 %", "", "85.7 %", "1"]


@pytest.mark.parametrize("classes", [21, 41, 100])
def test_many_classes_are_a_heat_map_and_the_most_confused_pairs(write, classes):
    page, text = write(count=300, wrong=50, classes=classes)
    drawn = section(text, "Confusion")
    assert drawn.count("<svg") == 1 and drawn.count("<image") == 1 and "Most confused: 12 of " in page.said
    assert drawn.count("<tr>") == 1 + 12 + 1 + classes


def test_two_hundred_classes_are_a_table(write):
    page, text = write(count=400, wrong=80, classes=200, size=4)
    drawn = section(text, "Confusion")
    assert ("<svg" not in drawn and "200 classes are too many to draw" in page.said
            and "Most confused: 12 of 80 pairs" in page.said)


def test_outputs_beyond_the_data_s_classes_show_only_where_they_are_used(write):
    assert "output" not in section(write(classes=10, outputs=1000)[1], "Confusion").replace("what the network", "")
    pictures = images(60, classes=12)
    drawn = section(write(classes=12, names=[f"class {i}" for i in range(10)], pictures=pictures,
                          outputs=1000)[1], "Confusion")
    assert "output 11" in drawn and "output 12" not in drawn


def test_a_class_without_pictures_has_no_recall(write):
    pictures = Tensors(torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))
    row = section(write(pictures=pictures, classes=3, wrong=2)[1], "Confusion").split("<tr>")[4]
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["class 2", "0", "–", "", "–", ""]


def test_nothing_measured(write):
    page, _ = write(count=0, wrong=0)
    assert "no validation picture could be measured" in page.said and "Confusion" not in page.said


def test_layer_table_has_totals_and_shares(write):
    page, text = write()
    table = section(text, "The network")
    foot = re.search(r"<tfoot>(.*?)</tfoot>", table, re.DOTALL)[1]
    assert "1,000" in foot and "118,440" in foot and "width: 15.6%" in table and "width: 99.3%" in table
    assert "6×28×28" in page.said
    assert "<details>" not in table and "<details>" in section(write(layers=LAYERS * 20)[1], "The network")
    assert "The network" not in write(layers=[])[0].said


def test_configuration_is_folded_and_complete(write):
    page, text = write(run=Run(data=Data(source="a/<b>x</b>")))
    assert ("<details>" in section(text, "Configuration") and "label_smoothing: 0.0" in page.said
            and "source: a/<b>x</b>" in page.said)
    assert "<code>pool</code>" in text      # of the idea


def test_the_style_sheet_follows_the_reader(write):
    css = re.search(r"<style>(.*?)</style>", write()[1], re.DOTALL)[1]
    assert "color-scheme: light dark;" in css and "--page: light-dark(" in css and "@media print" in css
    defined = set(re.findall(r"(--\w+):", css))
    assert set(re.findall(r"var\((--\w+)", css)) <= defined | {"--least"}


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    pictures = images(10)
    with pytest.raises(ConvatlasError, match=r"cannot write .*report.html"):
        write_report(tmp_path / "absent", run=Run(), title="t", idea="i", layers=LAYERS,
                     evaluation=evaluation(pictures.labels, 0, 10), images=pictures,
                     classes=[str(i) for i in range(10)], filters=None, facts={})
