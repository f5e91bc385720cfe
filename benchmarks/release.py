"""A rehearsal of the release: what would be uploaded is built, installed where nothing else is, and put to work.

uv run python benchmarks/release.py

The source archive and the wheel are built from the checkout, a wheel from the archive, and both wheels are compared file by
file; zig compiles the kernels of both, if the checkout's environment has it. The first wheel goes into a new environment outside the checkout, and the commands there find no compiler and no
checkout: doctor, list, the main job, its report, prediction, and a folder for the native kernels. Nothing is uploaded.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from hatch_build import PLACE  # noqa: E402

NEEDED = ("README.md", "LICENSE", "CHANGELOG.md", "hatch_build.py", "pyproject.toml", "tests/conftest.py", "docs/data.md")


def main() -> None:
    """Build, compare, install, use."""
    with tempfile.TemporaryDirectory(prefix="convatlas-release-") as name:
        place = Path(name)
        wheel = built(place)
        python = installed(wheel, place / "environment")
        used(python, place / "empty")
    print("the release would do")


def built(place: Path) -> Path:
    """The wheel of the checkout, after a look at what the source archive gives."""
    ran("uv", "build", "--quiet", "--sdist", "--out-dir", place / "dist", cwd=ROOT)
    ran("uv", "build", "--quiet", "--wheel", "--out-dir", place / "dist", cwd=ROOT)
    (archive,), (direct,) = (list((place / "dist").glob(kind)) for kind in ("*.tar.gz", "*.whl"))
    with tarfile.open(archive) as file:
        inside = {member.partition("/")[2] for member in file.getnames()}
    agree(not set(NEEDED) - inside, f"{archive.name} lacks {set(NEEDED) - inside}")
    # zig by the path: an unpacked archive has no environment beside it, and nothing else compiles for browsers
    ran("uv", "build", "--quiet", "--wheel", "--out-dir", place / "again", archive, cwd=place,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    (again,) = (place / "again").glob("*.whl")
    apart = sorted({name for name, _ in contents(direct).items() ^ contents(again).items()})
    agree(not apart, f"the wheel of the archive is not the wheel of the checkout: {apart}")
    agree(any(each.startswith(PLACE) for each in contents(direct)), "the wheel has no kernels: is there a C++ compiler?")
    print(f"{archive.name} {archive.stat().st_size / 1e6:.1f} MB, {direct.name} {direct.stat().st_size / 1e6:.1f} MB, "
          f"{len(contents(direct))} files, the same from the archive and from the checkout")
    return direct


def contents(wheel: Path) -> dict[str, int]:
    """Name → checksum; of the kernels, which compilers make differently, the name alone; without the tag's files."""
    with ZipFile(wheel) as file:
        return {each.filename: 0 if each.filename.startswith(PLACE) else each.CRC for each in file.infolist()
                if not each.filename.endswith(("/RECORD", "/WHEEL"))}


def installed(wheel: Path, environment: Path) -> Path:
    """Python of a new environment that holds the wheel and what it needs."""
    ran("uv", "venv", "--quiet", "--python", sys.executable, environment, cwd=environment.parent)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ran("uv", "pip", "install", "--quiet", "--python", python, wheel, cwd=environment.parent)
    return python


def used(python: Path, place: Path) -> None:
    """The commands of a user, in an empty folder, without a compiler."""
    place.mkdir()
    alone = {key: value for key, value in os.environ.items()
             if key not in ("PYTHONPATH", "VIRTUAL_ENV", "CXX", "CC") and not key.startswith("CONVATLAS")}
    alone |= {"PATH": str(python.parent), "XDG_CACHE_HOME": str(place / "cache"), "NO_COLOR": "1"}

    def convatlas(*words: str) -> str:
        return ran(python.parent / "convatlas", *words, cwd=place, env=alone)

    (home,) = ran(python, "-c", "import convatlas; print(convatlas.__file__)", cwd=place, env=alone).split()
    agree(str(python.parents[1]) in home, f"convatlas is {home}")
    doctor = json.loads(convatlas("doctor", "--json"))
    agree("wheel" in json.dumps(doctor), f"the kernels do not come from the wheel: {doctor}")
    agree(len(convatlas("list", "--names").split()) > 200, "networks are missing")
    convatlas("train", "lenet5", "digits", "--out", "run")
    agree((place / "run" / "report.html").stat().st_size > 10_000, "there is no report")
    found = json.loads(convatlas("eval", "run", "digits", "--json"))
    agree(found["top1"] > 0.97, f"lenet5 has {found['top1']:.3f} on the digits")
    convatlas("deploy", "run", "--out", "fast", "--backend", "native")
    fast = json.loads(convatlas("eval", "fast", "digits", "--json"))
    agree(fast["top1"] == found["top1"], f"deployed it has {fast['top1']:.3f}, not {found['top1']:.3f}")
    ran(python, "-c", "from PIL import Image; Image.new('L', (8, 8)).save('black.png')", cwd=place, env=alone)
    agree("black.png" in convatlas("predict", "fast", "black.png"), "no prediction")
    print(f"{sum(1 for _ in place.rglob('*'))} files were left behind; top-1 {found['top1']:.2%}, by the native kernels too")


def ran(*words: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a command prints; the time it took is told."""
    begun = time.monotonic()
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True)
    told = " ".join(Path(str(word)).name if Path(str(word)).is_absolute() else str(word) for word in words)
    print(f"{time.monotonic() - begun:6.1f} s  {told}", flush=True)
    agree(done.returncode == 0, f"{told} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def agree(true: bool, otherwise: str) -> None:
    """Go on, or say what is wrong and end."""
    if not true:
        sys.exit(f"not fit for release: {otherwise}")


if __name__ == "__main__":
    main()
