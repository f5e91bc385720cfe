"""The site as files: complete, linked, safe to write and to serve. No browser."""

import html
import html.parser
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from convatlas import known
from convatlas.atlas import build, diagrams, lineage, told
from convatlas.atlas.build import MARK, Page, Wanted, given
from convatlas.atlas.build import build as written
from convatlas.errors import ConvatlasError

HOUSE = Path(__file__).parents[2]
FEW = ("lenet5", "googlenet", "resnet18", "unet")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of few variants, without the lecture."""
    return written(tmp_path_factory.mktemp("small") / "site", Wanted(only=FEW), (
        told.home, told.networks, lineage.lineage, told.compare)).folder


def test_what_pools_one_pixel_is_no_global_average_pooling() -> None:
    """LeNet-5 has a pool in its head, for larger images; those with gates or side classifiers do average a map."""
    for name, has in (("lenet5", False), ("lenet5_modern", False), ("googlenet", True), ("se_mobilenet_v1", True)):
        assert ("global average pooling" in told.line(name).parts) is has, name


def test_speeds_are_those_of_the_results() -> None:
    """What pages tell of speed is what benchmarks/results has: `uv run python benchmarks/speeds.py` gathers it."""
    sys.path.insert(0, str(HOUSE / "benchmarks"))
    try:
        import speeds
    finally:
        sys.path.pop(0)
    assert json.loads(speeds.PATH.read_text(encoding="utf-8")) == speeds.gathered()


def test_a_page_tells_what_was_measured_of_its_speed(small: Path) -> None:
    text = (small / "network" / "resnet18.html").read_text(encoding="utf-8")
    measured = json.loads((HOUSE / "benchmarks" / "results" / "inference.json").read_text(encoding="utf-8"))
    one = next(each for each in measured["comparisons"] if (each["model"], each["batch"]) == ("resnet18", 1))
    assert f"{1e3 * one['sides'][0]['latency']:.3g} ms" in text and f"{one['sides'][1]['ratio']:.2f}×" in text
    assert measured["machine"]["processor"].replace("(R)", "") in text and "ONNX Runtime Web" in text
    text = (small / "network" / "googlenet.html").read_text(encoding="utf-8")
    assert "Nothing of its speed has been measured here" in text


class Links(html.parser.HTMLParser):
    """Addresses that a page names, and its ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.found.append(value)
            if name == "id" and value:
                self.ids.append(value)


def broken(folder: Path, absent: re.Pattern[str] = re.compile("$^")) -> list[str]:
    """Links of a site that lead nowhere; those to pages that match `absent` are let be."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    wrong = []
    for path, links in pages.items():
        wrong += [f"{path.name}: id {name} twice" for name in set(links.ids) if links.ids.count(name) > 1]
        for link in links.found:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc or link.startswith("/"):
                wrong.append(f"{path.name}: {link} leads out of the site")
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.is_file():
                wrong += [] if absent.search(link) else [f"{path.name}: {link}"]
            elif parts.fragment and target.suffix == ".html" and "=" not in parts.fragment:
                wrong += [] if unquote(parts.fragment) in pages[target].ids else [f"{path.name}: {link}"]
    return wrong


def test_every_link_of_every_page_leads_somewhere(small: Path) -> None:
    others = "|".join(each.name for each in known.listed() or () if each.name not in FEW)
    assert broken(small, re.compile(rf"\b({others})\.(html|js)")) == []


def test_a_variant_s_page_tells_its_account(small: Path) -> None:
    page = (small / "network" / "resnet18.html").read_text(encoding="utf-8")
    found = known.account("resnet18")
    assert found is not None
    assert found["idea"] in html.unescape(page) and "11\u202f689\u202f512" in page
    assert page.count('class="verdict match"') == sum(fact["verdict"] == "match" for fact in found["facts"])
    data = (small / "data" / "network" / "resnet18.js").read_text(encoding="utf-8")
    name, value = json.loads("[" + data.removeprefix("atlas.give(").removesuffix(");\n") + "]")
    assert name == "network/resnet18" and value["rows"]["params"] == [row["params"] for row in found["layers"]]
    assert [value["words"]["kernel"][i] for i in value["rows"]["kernel"]] == [row["kernel"] for row in found["layers"]]


def test_pages_name_no_other_host_and_hold_no_script_of_their_own(small: Path) -> None:
    for path in small.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert "default-src 'none'" in page, path
        assert not re.search(r"<script(?![^>]*\b(src=|type=\"application/json\"))", page), path
        assert not re.search(r"\son\w+=", re.sub(r"<script type=\"application/json\".*?</script>", "", page)), path


def test_from_a_damaged_file_a_diagram_is_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "diagrams.zip"
    damaged.write_bytes(diagrams.STORED.read_bytes()[:5000])
    found = told.account("lenet5")
    whole = diagrams.diagram(found)
    monkeypatch.setattr(diagrams, "STORED", damaged)
    diagrams._index.cache_clear()
    assert diagrams.diagram(found) == whole
    diagrams._index.cache_clear()


def test_the_stored_diagrams_are_those_of_today_s_sources() -> None:
    stale = sorted(family for family in known.families() if not diagrams.stored(family))
    assert not stale, f"write them anew: uv run python benchmarks/diagrams.py   ({', '.join(stale)})"


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "unet", "densenet_40_12_cifar"])
def test_a_stored_diagram_is_the_one_that_is_computed(name: str) -> None:
    found = told.account(name)
    assert diagrams.diagram(found) == diagrams.computed(found)
    drawn = [number for chain in told.tree(name)["chains"] for number in rows(chain)]
    weighted = [i for i, row in enumerate(found["layers"]) if row["macs"] and not row["name"].startswith("aux.")]
    assert set(weighted) <= set(drawn) and len(set(drawn)) == len(drawn)


@pytest.mark.slow
def test_every_stored_diagram_is_the_one_that_is_computed_and_has_every_layer() -> None:
    for each in known.listed() or ():
        found = told.account(each.name)
        assert diagrams.diagram(found) == diagrams.computed(found), each.name
        drawn = {number for chain in told.tree(each.name)["chains"] for number in rows(chain)}
        weighted = {i for i, row in enumerate(found["layers"]) if row["macs"] and not row["name"].startswith("aux.")}
        assert weighted <= drawn or not drawn, each.name


def rows(chain: list[object]) -> list[int]:
    found: list[int] = []
    for part in chain:
        found += [part] if isinstance(part, int) else part[4] if isinstance(part, list) else [
            number for path in part["p"] for number in rows(path)]      # type: ignore[index]
    return found


@pytest.mark.parametrize(("name", "has", "lacks"), [
    ("lenet5", {"tanh"}, {"ReLU", "BatchNorm", "skip connections", "dropout"}),
    ("alexnet", {"ReLU", "LRN", "dropout", "grouped convolution"}, {"global average pooling", "parallel paths"}),
    ("googlenet", {"parallel paths", "1×1 convolution", "side classifiers", "global average pooling"}, {"BatchNorm"}),
    ("inception_v3", {"1×n and n×1 convolution", "BatchNorm"}, {"skip connections"}),
    ("resnet18", {"skip connections", "BatchNorm"}, {"dropout", "parallel paths", "gates", "stochastic depth"}),
    ("plain18", {"BatchNorm"}, {"skip connections"}),
    ("densenet121", {"dense connections"}, {"parallel paths"}),
    ("se_resnet50", {"gates", "skip connections"}, {"depthwise convolution"}),
    ("mobilenet_v1", {"depthwise convolution"}, {"skip connections", "large depthwise kernels"}),
    ("replknet_31b", {"large depthwise kernels", "skip connections"}, {"LRN"}),
    ("convnext_tiny", {"GELU", "LayerNorm", "stochastic depth", "layer scale"}, {"dropout", "BatchNorm"}),
    ("unet", {"maps handed across", "transposed convolution"}, {"global average pooling"}),
    ("repvgg_a0", {"parallel paths"}, {"gates"}),
])
def test_what_a_network_is_made_of(name: str, has: set[str], lacks: set[str]) -> None:
    found = set(told.parts(told.account(name)))
    assert has <= found and not lacks & found, found


def test_each_idea_is_a_field_of_the_specification_that_it_names() -> None:
    """`ideas` reads each field's value from the specification, and a field that is not there is a KeyError."""
    found = lineage.ideas()
    names = {idea.name for idea in found}
    assert len(names) == len(found) and {idea.group for idea in found} <= set(lineage.GROUPS)
    for idea in found:
        for each in (idea.enters, *idea.taken):
            assert each.source and (each.field in told.account(each.network)["spec"] or not each.of)
            assert each.value not in ("false", "null", "0", "none"), (idea.name, each.network, each.field, each.value)
        known_to_have = {idea.enters.network}
        for each in idea.taken:         # from whom it is taken had it before
            assert each.of in known_to_have, (idea.name, each.of)
            assert told.year(told.account(each.of)) <= told.year(told.account(each.network)), (idea.name, each.network)
            known_to_have.add(each.network)


def test_a_year_is_that_of_the_paper_and_no_number_of_a_preprint() -> None:
    assert {name: told.year(told.account(name)) for name in ("lenet5", "mobilenet_v1", "se_resnet50", "googlenet")} == {
        "lenet5": 1998, "mobilenet_v1": 2017, "se_resnet50": 2018, "googlenet": 2015}


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ConvatlasError, match="holds other things than an atlas"):
        build(tmp_path, only=FEW[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConvatlasError, match="is a file"):
        build(tmp_path / "file", only=FEW[:1])


def test_an_atlas_is_replaced_whole_and_survives_one_that_fails(small: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def one(wanted: Wanted) -> list[Page]:
        return [Page("index.html", "index.html.j2", "x", {"variants": 1, "families": 1, "first": 1, "last": 1,
                                                          "facts": 1, "matches": 1, "runs": [], "cards": {}})]

    out = tmp_path / "site"
    written(out, Wanted(), [one])
    (out / "left.html").write_text("of an older atlas")
    calls: list[Path] = []

    def full(self: Path, content: bytes) -> int:
        calls.append(self)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ConvatlasError, match=r"cannot write .*No space left"):
            written(out, Wanted(), [one])
    assert calls and (out / "left.html").exists() and [path.name for path in tmp_path.iterdir()] == ["site"]
    written(out, Wanted(), [one])
    assert not (out / "left.html").exists() and (out / MARK).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_data_ends_no_script() -> None:
    content = given("a", "</script><b>").content
    assert isinstance(content, str) and "</script>" not in content


def test_it_is_served_to_this_machine_under_its_own_name_alone(small: Path) -> None:
    from threading import Thread

    from convatlas.atlas.serve import server

    with server(small, 0) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{serving.server_port}/index.html"
            assert b"<h1>" in urllib.request.urlopen(address, timeout=5).read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked = urllib.request.Request(address, headers={"Host": "elsewhere.example:80"})
                urllib.request.urlopen(asked, timeout=5)
            assert serving.server_address[0] == "127.0.0.1"
        finally:
            serving.shutdown()


def test_a_run_s_slug_is_one_that_every_address_takes() -> None:
    from convatlas.atlas.runs import slugs

    assert slugs([Path("/r/a b"), Path("/s/a b"), Path("/r/<x>"), Path("/r/…")]) == ["a-b", "a-b-2", "x", "run"]


def test_two_directions_of_most_variance() -> None:
    import torch

    from convatlas.atlas.runs import flat

    torch.manual_seed(0)
    vectors = torch.randn(200, 2) * torch.tensor([5.0, 1.0]) @ torch.linalg.qr(torch.randn(6, 6))[0][:2] + 3
    places, shares = flat(vectors)
    assert sum(shares) == pytest.approx(1) and shares[0] > 0.9 and places.abs().max() == 1
    before, after = torch.cdist(vectors.double(), vectors.double()), torch.cdist(places, places)
    assert torch.allclose(after / after.max(), before / before.max(), atol=1e-6)
    assert flat(torch.ones(3, 1))[0].tolist() == [[0, 0]] * 3


@pytest.mark.slow
def test_the_command_writes_serves_and_ends_kindly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convatlas", "atlas"]
    environment = {**os.environ, "BROWSER": "true"}
    done = subprocess.run([*command, "--out", "site"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.strip() == f"open {Path('site/index.html')} in a browser"
    assert broken(tmp_path / "site") == []
    names = {each.name for each in known.listed() or ()}
    assert {path.stem for path in (tmp_path / "site" / "network").iterdir()} == names
    assert sum(path.stat().st_size for path in (tmp_path / "site").rglob("*")) <= 25e6
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([*command, "--serve", "--port", port], cwd=tmp_path, capture_output=True, text=True,
                              timeout=240, env=environment)
        assert done.returncode == 2 and f"cannot answer at port {port}" in done.stderr
    with subprocess.Popen([*command, "--serve", "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        assert b"<h1>" in urllib.request.urlopen(address, timeout=20).read()
        time.sleep(0.2)
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "ended" in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(("words", "said"), [
    (["runs/absent"], "there is no run folder"),
    (["--weights", "absent.safetensors"], "there is no run folder"),
    (["--port", "x", "--serve"], "'x' is not a whole number"),
    (["--port", "99999", "--serve", "--out", "thesis"], "holds other things"),
])
def test_what_cannot_be_is_told_before_anything_is_built(words: list[str], said: str, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from convatlas.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("")
    assert main(["atlas", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", "").split())
