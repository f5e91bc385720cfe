"""Weights that come along, as a user names them on the command line."""

import json

from PIL import Image

from convatlas import weights
from convatlas.data import open_data
from convatlas.run import Data


def test_commands_take_the_name_where_they_take_a_run(inside, tmp_path):
    digits = open_data(Data(source="digits")).val
    Image.fromarray(digits.read(0)[0].numpy()).save(tmp_path / "digit.png")
    done = inside("predict", "lenet5.digits", tmp_path / "digit.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["images"][0]["predictions"][0]
    assert best["class"] == str(int(digits.labels[0])) and best["probability"] > 0.3
    done = inside("inspect", "filters", "lenet5.digits", "--out", "kernels.png", cwd=tmp_path)
    assert done.returncode == 0 and "newly initialised" not in done.stderr and (tmp_path / "kernels.png").is_file()
    done = inside("predict", "lenet5.digit", tmp_path / "digit.png", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean 'lenet5.digits'" in done.stderr


def test_the_list_shows_them_before_public_ones(inside):
    here, done = weights.shipped(), inside("list", "--pretrained", "--names")
    lines = done.stdout.splitlines()
    assert lines[:len(here)] == [f"{each.ours} {each.id}" for each in here] and len(lines) > len(here) + 100
    rows = json.loads(inside("list", "--pretrained", "lenet*", "--json").stdout)
    assert {row["id"] for row in rows} == {"digits", "fashion-small"} and all("command" in row for row in rows)
    shown = inside("list", "--pretrained", "lenet5").stdout
    assert "fashion-small" in shown and "CC BY 4.0" in shown
