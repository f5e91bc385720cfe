"""Two test workers on two cores: one thread each. The same seed before every test."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


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
