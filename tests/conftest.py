"""Two test workers on two cores: one thread each, and few collections of garbage.

The same seed before every test, and the same width of what is printed.
"""

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest

# half a million objects that imports leave are looked through by every full collection: a sixth of all that tests do
gc.set_threshold(20_000, 20, 50)

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)     # with it every subprocess compiles torch anew, for two seconds
os.environ.pop("COLUMNS", None)
from convatlas.cli import console as console  # noqa: E402     # its width is that of the moment at which it is imported


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch  # here, not at the top: the process that only hands out tests does without

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, or a skip that says how to give one."""
    named = os.environ.get("CONVATLAS_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("needs the real data sets: set CONVATLAS_DATA to their folder")
    return Path(named)


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deployed is measured for a tenth of a second, not for three."""
    from convatlas.deploy import choose

    monkeypatch.setattr(choose, "MEASURING", 0.1)


@pytest.fixture(scope="session")
def compiled() -> list[Path]:
    """The files of our own kernels, compiled once for all tests; none without a compiler."""
    from convatlas.deploy.native import build, wasm
    from convatlas.files import cache_dir

    module = [wasm._kept()] if wasm._kept().is_file() else []       # compiled by the tests that are for it
    if build.missing():
        return module
    build.kernels()
    return [*module, *sorted((cache_dir() / "native").glob(f"{build._kept(build.FLAGS).stem}.*"))]


@pytest.fixture
def own_cache(briefly: None, compiled: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, empty but for the kernels, whose compilation takes ten seconds."""
    (tmp_path / "cache" / "convatlas" / "native").mkdir(parents=True)
    for file in compiled:
        shutil.copy2(file, tmp_path / "cache" / "convatlas" / "native" / file.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    """A torchvision ResNet-18 with random weights, and its file."""
    import torch
    from torchvision.models import resnet18

    torch.manual_seed(0)
    from parity import randomized

    model, path = randomized(resnet18()), tmp_path_factory.mktemp("weights") / "some.pth"
    torch.save(model.state_dict(), path)
    return model, path
