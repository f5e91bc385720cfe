"""Every block of README and docs, run as printed, in a folder that has what it names.

A training is cut to one epoch, and what tries many to few (`SHORT`); nothing else is changed. `runs/…` is a folder of
that name.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest
from printed import blocks, done
from test_printed import ours

PRINTED = [block for block in blocks() if block.language in ("sh", "python")]
WHOLE = {language: [each for each in PRINTED if each.language == language and not each.reason()]
         for language in ("sh", "python")}
# one that is given later counts
SHORT = {
    "train": "--epochs 1",
    "scale search": "--trials 2 --seeds 2 --finals 2 --best 1 --epochs 1 --yes",
    "scale apply": "--phi 1 --seeds 2 --yes",
    "scale baseline": "--minutes 1 --epochs 1 --images 500 --seeds 0 --yes",
    "ablate": "--epochs 1 --seeds 2",
}
# run in every run of the tests, each in less than a second or two
QUICK = (
    "convatlas list", "convatlas info lenet5", "convatlas compare resnet50 resnext50_32x4d", "convatlas facts --errata",
    "convatlas predict lenet5.digits seven.png", "convatlas data check photos/", "convatlas data shard photos/ shards/",
    "convatlas inspect same-as-fc --out same-as-fc.svg", "convatlas reproduce --list",
    "convatlas inspect filters resnet20_cifar.digits --out kernels.png", "convatlas list --pretrained 'resnet*'",
)


@pytest.fixture
def place(plain_place, tmp_path, monkeypatch, briefly):
    """A copy of the small folder, as the working directory."""
    shutil.copytree(plain_place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")


@pytest.fixture
def full(request, whole_place, tmp_path, monkeypatch, own_cache):
    """A copy of the large one, as the page means it: what `photos/` and `runs/…` are."""
    pixels = request.node.callspec.params["block"].page.name == "segmentation.md"
    shutil.copytree(whole_place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    shutil.copytree("runs/cells" if pixels else "runs/digits", "runs/…")
    if pixels:
        shutil.rmtree("photos")
        shutil.copytree("pairs", "photos")
    yield
    shutil.rmtree(tmp_path / "place")       # of some fifty tests it would be tens of gigabytes


@pytest.mark.parametrize("command", QUICK)
def test_a_printed_command_runs(command, place):
    assert any(command in block.commands() for block in PRINTED)
    done(*ours(command))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", WHOLE["sh"], ids=str)
def test_a_block_of_commands_runs(block, full, capsys):
    failed = []
    for command in block.commands():
        if not block.reason(command) and command not in QUICK:
            code = run(command)
            said = capsys.readouterr()
            if code:
                failed.append(f"{command}: {said.err[-1500:]}")
    assert not failed, "\n\n".join(failed)


def run(command):
    """Its exit code; in this process, unless another program starts ours."""
    words = shlex.split(command)
    at = words.index("convatlas")
    given = words[at + 1:]
    given += shlex.split(next((more for name, more in SHORT.items() if " ".join(given).startswith(f"{name} ")), ""))
    for option, value in pairwise(given):
        if option == "--out" and given[0] == "train":      # the page trains what lies there
            shutil.rmtree(value, ignore_errors=True)
    if words[0] == "torchrun":
        return subprocess.run([sys.executable, "-m", "torch.distributed.run", *words[1:at + 1], *given],
                              env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
    with contextlib.suppress(AssertionError):
        done(*given)
        return 0
    return 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", WHOLE["python"], ids=str)
def test_a_python_block_runs(block, full, monkeypatch):
    import torch

    import convatlas

    size = 224 if block.page.name in ("README.md", "performance.md") else 32
    model = convatlas.create_model("resnet18") if block.page.name == "performance.md" else convatlas.load("runs/photos")
    images = torch.rand(2, 3, size, size)
    names = {"model": model.eval(), "images": images.numpy() if "NumPy" in block.text else images}
    monkeypatch.setattr(sys, "argv", ["answer.py", "rose.jpg"])
    if "deploy.json" in block.text:     # a program that stands in a deployed folder
        done("deploy", "runs/photos", "--out", "there", "--backend", "onnxruntime")
        shutil.copy("rose.jpg", "there")
        monkeypatch.chdir("there")
    exec(compile(block.text, str(block), "exec"), names)
