"""Make the wheels of all platforms, each with the kernels compiled for it, on one machine:

    uv run python benchmarks/wheels.py [PLATFORM …]       # into dist/

`uv build` and zig do it (hatch_build.py); auditwheel, where it is installed, says what a Linux wheel needs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from hatch_build import PLACE, PLATFORMS  # noqa: E402

MOST = 3_000_000        # bytes of the kernels in a wheel, compressed


def main(names: list[str]) -> None:
    for name in names or [*PLATFORMS]:
        subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", "dist"], cwd=ROOT, check=True,
                       env={**os.environ, "CONVATLAS_PLATFORM": name})
        wheel = max((ROOT / "dist").glob(f"*-{PLATFORMS[name].tag}.whl"), key=lambda path: path.stat().st_mtime)
        with ZipFile(wheel) as inside:
            built = {each.filename.rpartition(".")[2] == "wasm": each for each in inside.infolist() if each.filename.startswith(PLACE)}
        library, module = built[False], built[True]
        print(f"{wheel.name}: kernels {library.file_size / 1e3:.0f} kB, {library.compress_size / 1e3:.0f} kB of the wheel's "
              f"{wheel.stat().st_size / 1e6:.1f} MB; as WebAssembly {module.file_size / 1e3:.0f} kB, {module.compress_size / 1e3:.0f} kB")
        if library.compress_size + module.compress_size > MOST:
            raise SystemExit(f"the kernels take more than {MOST / 1e6:.0f} MB")
        if name.startswith("linux") and shutil.which("auditwheel"):
            subprocess.run(["auditwheel", "show", str(wheel)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
