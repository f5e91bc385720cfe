"""OpenVINO's cores beside signals."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

# In a process of its own: where it goes wrong, the process dies. Each way ends with a child.
ENDS = """
import gc, signal, subprocess, sys, tempfile
from pathlib import Path
import openvino, torch
import convatlas
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.backends.open_vino import same_signal_stack

signal.signal(signal.SIGCHLD, lambda number, frame: None)       # as torch's data loader sets one
net, x = convatlas.create_model("lenet5_modern").eval(), torch.randn(2, 1, 32, 32)
with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    BACKENDS["openvino"].write(net, x, "fp32", folder)

    def theirs():
        return openvino.Core().compile_model(str(folder / "model.xml"), "CPU")

    def in_turn(make):
        first, second = make(), make()
        del first
        gc.collect()
        del second
        gc.collect()

    for way in sys.argv[1:]:
        if way == "ours":
            in_turn(lambda: BACKENDS["openvino"].open(folder, x, "fp32"))
        elif way == "theirs, guarded":
            with same_signal_stack():
                in_turn(theirs)
        else:
            in_turn(theirs)
        subprocess.run([sys.executable, "-c", ""], check=True)
        print(way)
"""


def test_a_child_may_end_after_engines_did() -> None:
    ways = ["ours", "theirs, guarded"]
    done = subprocess.run([sys.executable, "-c", ENDS, *ways], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, ways), done.stderr
