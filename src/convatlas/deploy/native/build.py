"""The kernels, compiled for this processor when they are first asked for, and kept."""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ...errors import ConvatlasError
from ...files import cache_dir, whole_write

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC", "-fvisibility=hidden", "-std=c++17")
SECONDS = 300


def compiler() -> str | None:
    """The C++ compiler's path: what CXX names, else g++, else clang++; None where there is none."""
    return next((path for name in (os.environ.get("CXX"), "g++", "clang++") if name and (path := shutil.which(name))),
                None)


def missing() -> str | None:
    """Installation advice for the compiler that is not there, or None."""
    return (None if compiler()
            else "native needs a C++ compiler: install g++ or clang++, or name one in the environment variable CXX")


@cache
def kernels(flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL:
    """The library; compiled with these flags, unless that was done before on a processor of this kind.

    Raises ConvatlasError.
    """
    found = compiler()
    if found is None:
        raise ConvatlasError(missing())
    with as_file(files(__package__) / "kernels") as folder:
        sources = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        about = repr((sources, flags, found, Path(found).stat().st_mtime_ns, _instructions())).encode()
        library = cache_dir() / "native" / f"{hashlib.sha256(about).hexdigest()[:32]}.so"
        if not library.exists():
            with whole_write(library, parents=True) as beside:
                done = _compiled([found, *flags, str(folder / "run.cpp"), "-o", str(beside)])
                if done.returncode:
                    raise ConvatlasError(f"{found} does not compile the native kernels: {_first_error(done.stderr)}; "
                                         "take another compiler by the environment variable CXX, or another backend")
    return _declared(ctypes.CDLL(str(library)))


def names_in(what: str) -> tuple[str, ...]:
    """The names that the kernels' sources give `struct Step`, `enum Kind` or another, in their order."""
    text = "".join(path.read_text(encoding="utf-8") for path in (files(__package__) / "kernels").iterdir())
    (body,) = re.findall(rf"^{what} \{{(.*?)\}};", text, re.DOTALL | re.MULTILINE)
    return tuple(re.findall(r"(\w+)\s*(?:[,;]|\Z)", re.sub(r"//.*", "", body)))


def _instructions() -> str:
    """The processor's instruction sets, on which -march=native depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compiled(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ConvatlasError(f"{command[0]} took more than {SECONDS} seconds for the native kernels; take another "
                             "backend") from error


def _first_error(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "it says nothing")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions."""
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "convatlas_run": (None, [pointer, whole, pointer, pointer, whole, whole, pointer, pointer, pointer]),
        "convatlas_large_pages": (None, [pointer, whole]),
        "convatlas_scratch": (whole, [pointer]), "convatlas_step_size": (whole, []), "convatlas_lanes": (whole, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
