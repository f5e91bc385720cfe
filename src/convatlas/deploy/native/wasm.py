"""The kernels as WebAssembly: those that a wheel brings, else compiled by zig when they are first asked for, and kept.
"""

import hashlib
import subprocess
import sys
from functools import cache
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConvatlasError
from ...files import cache_dir, whole_write
from .build import SECONDS
from .work import Floats

SHIPPED = Path(__file__).parent / "built" / "convatlas.wasm"        # in wheels, put there by hatch_build.py
ARGUMENTS = "wasm.args"         # of the compiler, a line each; hatch_build.py reads them too


def missing() -> str | None:
    """Installation advice for the compiler that is not there, or None, also where the kernels are compiled already."""
    if compiled() or find_spec("ziglang"):
        return None
    return "the kernels are not compiled as WebAssembly here, and zig compiles them: pip install ziglang"


def compiled() -> bool:
    """True if the module is there; else `module` compiles it, which takes one processor a minute or two."""
    return SHIPPED.is_file() or _kept().is_file()


@cache
def module() -> bytes:
    """The WebAssembly module. Raises ConvatlasError."""
    if SHIPPED.is_file():
        return SHIPPED.read_bytes()
    kept = _kept()
    if not kept.is_file():
        if reason := missing():
            raise ConvatlasError(reason)
        with as_file(files(__package__) / "kernels") as folder, whole_write(kept, parents=True) as beside:
            sources = map(str, sorted(folder.glob("*.cpp")))
            command = [sys.executable, "-m", "ziglang", "c++", *_arguments(folder), *sources, "-o", str(beside)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode:
                raise ConvatlasError("zig does not compile the kernels as WebAssembly: "
                                     f"{' '.join(done.stderr.split())[:300]}")
    return kept.read_bytes()


def _kept() -> Path:
    """The module's place in the cache, which the sources decide."""
    about = repr(sorted((path.name, path.read_bytes()) for path in (files(__package__) / "kernels").iterdir()))
    return cache_dir() / "native" / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.wasm"


def _arguments(folder: Path) -> list[str]:
    return (folder / ARGUMENTS).read_text(encoding="utf-8").split()


class Machine:
    """A network in WebAssembly, run by wasmtime: images (N, C, H, W) to what it gives each, flat.

    With `maps`, `map_of` reads what a step made of the last image.
    """

    def __init__(self, plan: bytes, weights: bytes, maps: bool = False) -> None:
        import wasmtime  # an extra

        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        linker = wasmtime.Linker(engine)
        whole = wasmtime.ValType.i32()
        linker.define_func("convatlas", "refuse", wasmtime.FuncType([whole, whole], []), self._refuse)
        # functions and a memory, whose kinds their names tell
        self.exports: Any = linker.instantiate(self.store, wasmtime.Module(engine, module())).exports(self.store)
        self.said: str | None = None
        self._call("_initialize")
        held = [self._hold(plan), self._hold(weights)]
        self.network = self._call("convatlas_open_bytes", held[0], len(plan), held[1], len(weights), int(maps))
        for at in held:
            self._call("free", at)
        self.size = tuple(self._call(f"convatlas_{name}", self.network) for name in ("channels", "height", "width"))
        self.count = self._call("convatlas_results", self.network)

    def __call__(self, x: Floats) -> Floats:
        """As the class says."""
        image, scores = self._hold(np.ascontiguousarray(x, np.float32).tobytes()), self._room(4 * self.count * len(x))
        self._call("convatlas_scores", self.network, image, len(x), scores)
        found = self._read(scores, self.count * len(x)).reshape(len(x), -1)
        for at in (image, scores):
            self._call("free", at)
        return found

    def map_of(self, step: int, count: int) -> Floats:
        """The numbers (c · h · w) that a step left, of which there are `count`."""
        at = self._room(4 * count)
        self._call("convatlas_map", self.network, step, at)
        found = self._read(at, count)
        self._call("free", at)
        return found

    def _call(self, name: str, *values: int) -> Any:
        self.said = None
        try:
            return self.exports[name](self.store, *values)
        except Exception as error:      # a trap, whose reason `refuse` has heard
            if self.said is None:
                raise
            raise ConvatlasError(f"the network cannot be run: {self.said}") from error

    def _refuse(self, at: int, count: int) -> None:
        self.said = bytes(self.exports["memory"].read(self.store, at, at + count)).decode("utf-8", "replace")
        raise RuntimeError(self.said)

    def _room(self, count: int) -> int:
        return int(self._call("malloc", count)) & 0xffffffff

    def _hold(self, content: bytes) -> int:
        at = self._room(len(content))
        self.exports["memory"].write(self.store, content, at)
        return at

    def _read(self, at: int, count: int) -> Floats:
        content = self.exports["memory"].read(self.store, at, at + 4 * count)
        return np.frombuffer(bytes(content), np.float32)
