"""The stored accounts: those of today's sources, what would be computed, and never used where they may not be."""

import json
import shutil

import pytest

from convatlas import known, zoo
from convatlas.facts.published import published
from convatlas.net import registry
from convatlas.net.registry import VARIANTS

# one per family
SMALLEST = sorted({v.family: v.name for v in sorted(VARIANTS.values(), key=lambda v: -v.macs)}.values())
WRITE = "write them anew: uv run python benchmarks/accounts.py"


def plain(value):
    return json.loads(json.dumps(value))


def test_every_network_has_one_of_todays_sources():
    assert known.stale() == [], WRITE
    assert known.families() == {v.family for v in VARIANTS.values()}
    assert known.PATH.stat().st_size < 1_000_000
    stored = known.listed()
    assert stored is not None and [vars(each) for each in stored] == [plain(vars(each)) for each in zoo.listed()], WRITE
    assert all(known.account(name) is not None for name in (*VARIANTS, *registry.ALIASES))


def test_figures_stand_in_the_file_of_their_family():
    """As the digest takes it."""
    for fact in published():
        if fact.variant in VARIANTS:
            file = known.HOUSE / "facts" / "published" / f"{VARIANTS[fact.variant].family}.jsonl"
            assert f'"{fact.variant}"' in file.read_text(encoding="utf-8"), fact


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in SMALLEST else pytest.mark.slow)
                                  for name in VARIANTS])
def test_it_is_what_is_computed(name):
    assert known.account(name) == plain(zoo.account(zoo.info(name))), WRITE


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of what the accounts follow from, to be changed."""
    for each in (*known.COMMON, "arch", "known.zip"):
        whole = known.HOUSE / each
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, tmp_path / each)
    monkeypatch.setattr(known, "HOUSE", tmp_path)
    monkeypatch.setattr(known, "PATH", tmp_path / "known.zip")
    for cached in (known._common, known._index):
        cached.cache_clear()
    yield tmp_path
    for cached in (known._common, known._index):
        cached.cache_clear()


@pytest.mark.parametrize("source", ["arch/lenet5.py", "facts/published/lenet5.jsonl"])
def test_a_changed_network_is_not_known_and_others_are(house, source):
    assert known.account("lenet5") is not None and known.listed() is not None
    with (house / source).open("a") as file:
        file.write("\n")
    assert known.account("lenet5") is None and known.listed() is None and known.stale() == ["lenet5"]
    assert known.account("lenet4") is not None


@pytest.mark.parametrize("source", ["net/layers.py", "parts/conv.py", "facts/verdicts.py", "zoo.py"])
def test_where_what_all_share_has_changed_nothing_is_known(house, source):
    with (house / source).open("a") as file:
        file.write("\n")
    assert known.account("lenet5") is None and known.listed() is None


def test_line_ends_of_another_system_change_nothing(house):
    path = house / "arch" / "lenet5.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert known.account("lenet5") is not None and known.stale() == []


def test_a_network_in_a_new_file_is_listed_only_by_the_registry(house):
    (house / "arch" / "mine.py").write_text("")
    assert known.listed() is None and known.stale() == ["mine"] and known.account("lenet5") is not None


def test_without_the_file_nothing_is_known(house):
    (house / "known.zip").unlink()
    assert known.account("lenet5") is None and known.listed() is None and len(known.stale()) == len(known.families())


def test_in_a_damaged_file_nothing_is_known(house):
    file = house / "known.zip"
    file.write_bytes(file.read_bytes()[:5000])
    assert known.account("lenet5") is None and known.listed() is None


def test_an_unknown_name_is_not_known():
    assert known.account("lenet6") is None
