"""The kernels: those that a wheel brings compiled, where they fit this processor; else compiled for it when they are
first asked for, and kept.
"""

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ...errors import ConvatlasError
from ...files import cache_dir, digest, whole_write

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-pthread", "-shared", "-fPIC", "-fvisibility=hidden", "-std=c++17")
SECONDS = 900              # for compiling, on a machine that others use too
# in wheels, put there by hatch_build.py
SHIPPED = Path(__file__).parent / "built" / {"win32": "convatlas.dll", "darwin": "libconvatlas.dylib"}.get(
    sys.platform, "libconvatlas.so")
NAMED = "CONVATLAS_INSTRUCTIONS"        # the environment's wish for one of the builds in a wheel, or for `native`
HERE = "native"                         # compiled here, for this processor

log = logging.getLogger("convatlas")


def compiler() -> str | None:
    """The C++ compiler's path: what CXX names, else g++, else clang++; None where there is none."""
    return next((path for name in (os.environ.get("CXX"), "g++", "clang++") if name and (path := shutil.which(name))),
                None)


def missing() -> str | None:
    """Installation advice for the compiler that is not there, or None, also where the kernels are compiled already."""
    if compiler() or shipped() or _intact(_kept(FLAGS)):
        return None
    return ("native needs " + ("a processor with AVX2, for the kernels that come compiled, or " if SHIPPED.is_file()
                               else "")
            + "a C++ compiler: install g++ or clang++, or name one in the environment variable CXX")


def state() -> dict[str, str | None]:
    """Origin of the kernels, their instructions, the library, the compiler, and advice on what is missing; compiles
    nothing.
    """
    if ready := shipped():
        return {"from": "wheel", "instructions": ready.convatlas_instructions().decode(), "library": str(SHIPPED),
                "compiler": compiler(), "missing": None}
    there = _intact(library := _kept(FLAGS))
    return {"from": "compiled here" if there else "compiled at first use" if compiler() else None,
            "instructions": HERE if there or compiler() else None, "library": str(library) if there else None,
            "compiler": compiler(), "missing": missing()}


@cache
def shipped() -> ctypes.CDLL | None:
    """The library that came in the wheel, if there is one with a build for this processor.

    Raises ConvatlasError where the environment names a build that is not there.
    """
    named = os.environ.get(NAMED, "")
    if named == HERE:
        return None
    try:
        library = _declared(ctypes.CDLL(str(SHIPPED))) if SHIPPED.is_file() else None
    except OSError as error:            # another system's
        log.info("the kernels in the wheel cannot be loaded: %s", error)
        library = None
    if library is not None and library.convatlas_lanes() and named in ("", library.convatlas_instructions().decode()):
        return library
    if named:
        raise ConvatlasError(f"{NAMED} is {named!r}, and these native kernels have no such build for this processor: "
                             f"unset it, or set it to {HERE} to compile them here")
    return None


@cache
def kernels(flags: tuple[str, ...] | None = None) -> ctypes.CDLL:
    """The library: the wheel's, or compiled with FLAGS, unless that was done before on a processor of this kind; with
    `flags`, compiled with these.

    It is kept in the user's cache folder, with a checksum: one that is damaged, or that another user may have changed,
    is compiled anew. Where that folder cannot be written, it is in a temporary one. Raises ConvatlasError.
    """
    if flags is None:
        ready = shipped()
        if ready is not None:
            return ready
        flags = FLAGS
    library = _kept(flags)
    if not _intact(library):
        found = compiler()
        if found is None:
            raise ConvatlasError(missing())
        try:
            _compile(found, flags, library)
        except OSError as error:        # of the cache folder
            log.info("the compiled kernels cannot be kept in %s (%s): they are compiled for this process only",
                     library.parent, error.strerror or error)
            folder = Path(tempfile.mkdtemp(prefix="convatlas-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            library = folder / library.name
            _compile(found, flags, library)
    return _declared(ctypes.CDLL(str(library)))


def _kept(flags: tuple[str, ...]) -> Path:
    """The library's place in the cache, which sources, flags and the processor's kind decide."""
    sources = {path.name: path.read_bytes() for path in sorted((files(__package__) / "kernels").iterdir(),
                                                               key=lambda path: path.name)}
    about = repr((sources, flags, _instructions())).encode()
    return cache_dir() / "native" / f"{hashlib.sha256(about).hexdigest()[:32]}.so"


def _intact(library: Path) -> bool:
    """True for the file that `_compile` left, bytes and owner: what is opened is executed."""
    try:
        about = library.stat()
        mine = os.name != "posix" or (about.st_uid in (0, os.getuid()) and not about.st_mode & 0o022)
        return mine and _checksum(library).read_text(encoding="ascii") == digest(library)
    except (OSError, UnicodeDecodeError):
        return False


def _checksum(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _compile(found: str, flags: tuple[str, ...], library: Path) -> None:
    """Compile into `library`, and write its checksum beside it. Raises OSError where it cannot be written."""
    with whole_write(library, parents=True, sync=True, errors=()) as beside, \
            as_file(files(__package__) / "kernels") as folder:
        done = _compiled([found, *flags, *map(str, sorted(folder.glob("*.cpp"))), "-o", str(beside)])
        if done.returncode:
            raise ConvatlasError(f"{found} does not compile the native kernels: {_first_error(done.stderr)}; "
                                 "take another compiler by the environment variable CXX, or another backend")
        checksum = digest(beside)
    library.chmod(0o700)
    with whole_write(_checksum(library), sync=True, errors=()) as beside:       # an OSError stays one
        beside.write_text(checksum, encoding="ascii")


def names_in(what: str) -> tuple[str, ...]:
    """The names that the kernels' sources give `struct Step`, `enum Kind` or another, in their order."""
    text = "".join(path.read_text(encoding="utf-8") for path in (files(__package__) / "kernels").iterdir())
    (body,) = re.findall(rf"^{what} \{{(.*?)\}};", text, re.DOTALL | re.MULTILINE)
    return tuple(re.findall(r"(\w+)(?:\[\d+\])?\s*(?:[,;]|\Z)", re.sub(r"//.*", "", body)))


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
        "convatlas_instructions": (ctypes.c_char_p, []), "convatlas_bf16": (whole, []),
        "convatlas_depthwise_size": (whole, []), "convatlas_depthwise_room": (whole, [pointer]),
        "convatlas_depthwise": (None, [pointer, whole, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
