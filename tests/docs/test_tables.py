"""Tables of the pages that repeat what the code knows: backends, formats, protocols, the rules that fit a recipe."""

import re
import tomllib

from printed import HOUSE

from convatlas import weights
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.exports import FORMATS
from convatlas.evaluation.protocol import PROTOCOLS
from convatlas.tasks import fit

EXTRAS = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def table(page, first):
    """Rows of the table whose first column is headed so: first cell → the others."""
    lines = (HOUSE / page).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            return rows
        name, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        rows[name.strip("`")] = cells
    return rows


def test_backends():
    rows = table("docs/deploy.md", "`--backend`")
    assert set(rows) == set(BACKENDS)
    for name, (_, precisions, places, extra) in rows.items():
        made = BACKENDS[name]
        if name == "wasm":      # computes elsewhere, and is named by --target
            continue
        assert precisions.split(", ") == list(made.precisions), name
        assert places.replace("GPU", "cuda").lower().split(", ") == list(made.devices), name
        assert not extra.startswith("the extra") or extra.split("`")[1] in EXTRAS


def test_formats():
    rows = table("docs/deploy.md", "suffix")
    assert {cells[0].strip("`"): name.split("`")[0] for name, cells in rows.items()} == {
        kind: suffix for kind, (suffix, *_) in FORMATS.items()}


def test_protocols():
    rows = table("docs/evaluation.md", "name")
    assert set(rows) == set(PROTOCOLS)
    for name, (shown, averaged) in rows.items():
        protocol = PROTOCOLS[name]
        if found := re.search(r"at (\d+) scales", shown):
            assert int(found[1]) == len(protocol.scales)
        assert averaged == (f"{protocol.average} of {protocol.views}" if protocol.views > 1 else ""), name
        assert ("as convolutions" in shown or "whole picture" in shown) == protocol.dense
        assert ("mirror" in shown) == protocol.flip


def test_rules_that_fit_a_recipe():
    rows = table("docs/training.md", "field")
    said = {name: [int(number.replace(" ", "")) for number in re.findall(r"\d+(?: \d{3})*", cells[0])]
            for name, cells in rows.items()}
    modern, finetune = fit.LENGTHS["modern"], fit.LENGTHS["finetune"]
    assert said["batch"] == list(fit.BATCHES)
    assert said["epochs"] == [modern.least, finetune.least, modern.most, finetune.most, fit.PASSES]
    assert said["input"][0] == fit.SIDES and fit.MAPS == 2 and "2×2" in rows["input"][0]
    assert said["norm_momentum"][0] == fit.KNOWN
    assert said["augmentation"] == [fit.SMALL]
    assert set(re.findall(r"`(\w+)`", rows["characters"][0])) == fit.CHARACTERS


def test_what_comes_along():
    """README says how many."""
    numbers = {12: "twelve", 13: "thirteen", 14: "fourteen"}
    text = (HOUSE / "README.md").read_text(encoding="utf-8")
    assert f"{numbers[len(weights.shipped())]} small trained networks come along" in text
    assert f"{len((HOUSE / 'examples' / 'answer.c').read_text().splitlines())} lines" in (
        HOUSE / "docs" / "deploy.md").read_text(encoding="utf-8")
