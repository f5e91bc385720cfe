"""Two test workers on two cores: one thread each.

The same seed before every test, and the same width of what is printed.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)     # with it every subprocess compiles torch anew, for two seconds
os.environ.pop("COLUMNS", None)
from convatlas.cli import console as console  # noqa: E402     # its width is that of the moment at which it is imported


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, or a skip that says how to give one."""
    named = os.environ.get("CONVATLAS_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("needs the real data sets: set CONVATLAS_DATA to their folder")
    return Path(named)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    """A torchvision ResNet-18 with random weights, and its file."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    from parity import randomized

    model, path = randomized(resnet18()), tmp_path_factory.mktemp("weights") / "some.pth"
    torch.save(model.state_dict(), path)
    return model, path
