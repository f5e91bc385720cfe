"""The table of networks that run natively is what the kernels' planner says."""

import json
import runpy
import sys
from pathlib import Path

import pytest

import convatlas

ROOT = Path(__file__).parents[2]
SMALL = ("lenet5", "lecun1989_net4", "resnet20_cifar")


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return runpy.run_path(str(ROOT / "benchmarks" / "native_networks.py"))
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_the_table_names_every_network_as_the_planner_found_it(page):
    """It drifts unless somebody runs benchmarks/native_networks.py."""
    known = json.loads(page["KEPT"].read_text(encoding="utf-8"))
    assert sorted(known) == sorted(convatlas.list_models()), "uv run python benchmarks/native_networks.py"
    text = page["PAGE"].read_text(encoding="utf-8")
    assert f"<!-- {page['MARK']} -->\n{page['table'](known)}\n<!-- end -->" in text
    for name in SMALL:
        assert page["planned"](name) == known[name], name


@pytest.mark.slow       # ten minutes of a core
@pytest.mark.timeout(3600)
def test_every_network_is_planned_as_the_table_says(page):
    known = json.loads(page["KEPT"].read_text(encoding="utf-8"))
    assert {name: page["planned"](name) for name in known} == known
