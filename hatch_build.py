"""The native kernels in the wheel, compiled for one platform, so that whoever installs it needs no compiler.

`CONVATLAS_PLATFORM=linux-aarch64 uv build --wheel` takes a name of PLATFORMS, or `none`, and compiles with zig
(`ziglang` of the development group); without the variable the wheel is for this machine, by zig or the C++ compiler at
hand. Nothing is downloaded. Without the variable nothing that goes wrong here fails an installation: the wheel then has
no kernels, which are compiled when they are first needed. An editable installation compiles nothing.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = "src/convatlas/deploy/native/kernels"
PLACE = "convatlas/deploy/native/built"
WASM = "convatlas.wasm"             # in every wheel: for browsers
FLAGS = ("-O3", "-g0", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-std=c++17")


class Form(NamedTuple):
    """One instruction set: its name, and how zig and other compilers are told."""

    name: str
    zig: tuple[str, ...]
    other: tuple[str, ...]


class Platform(NamedTuple):
    """One kind of machine: the wheel's tag, zig's target, the library's name and what links it."""

    tag: str
    target: str
    library: str
    link: tuple[str, ...]
    forms: tuple[Form, ...]


# clang splits vectors of 512 bits for x86-64-v4 unless it is told not to
X86 = (Form("x86-64-v4-vnni", ("-mcpu=x86_64_v4+avx512vnni+avx512vbmi", "-mprefer-vector-width=512"),
            ("-march=x86-64-v4", "-mavx512vnni", "-mavx512vbmi", "-mprefer-vector-width=512")),
       Form("x86-64-v4", ("-mcpu=x86_64_v4", "-mprefer-vector-width=512"),
            ("-march=x86-64-v4", "-mprefer-vector-width=512")),
       Form("x86-64-v3", ("-mcpu=x86_64_v3",), ("-march=x86-64-v3",)))
ARM = (Form("armv8", (), ()),)
ELF = ("-fPIC", "-pthread", "-Wl,-soname,libconvatlas.so")
MACHO = ("-fPIC", "-Wl,-install_name,@rpath/libconvatlas.dylib")
PLATFORMS = {
    "linux-x86_64": Platform("manylinux_2_17_x86_64.manylinux2014_x86_64", "x86_64-linux-gnu.2.17", "libconvatlas.so",
                             ELF, X86),
    "linux-aarch64": Platform("manylinux_2_17_aarch64.manylinux2014_aarch64", "aarch64-linux-gnu.2.17",
                              "libconvatlas.so", ELF, ARM),
    "macos-arm64": Platform("macosx_11_0_arm64", "aarch64-macos.11.0", "libconvatlas.dylib", MACHO, ARM),
    "macos-x86_64": Platform("macosx_11_0_x86_64", "x86_64-macos.11.0", "libconvatlas.dylib", MACHO, X86),
    "windows-x86_64": Platform("win_amd64", "x86_64-windows-gnu", "convatlas.dll", (), X86),
}


class Kernels(BuildHookInterface):
    """Hatchling's hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell which file goes where, and for which machines the wheel is."""
        named = os.environ.get("CONVATLAS_PLATFORM", "")
        if self.target_name != "wheel" or version == "editable" or named == "none":
            return
        if named and named not in PLATFORMS:
            raise SystemExit(f"CONVATLAS_PLATFORM is {named!r}: there are none, {', '.join(PLATFORMS)}")
        root, self.folder = Path(self.root), Path(tempfile.mkdtemp(prefix="convatlas-"))
        try:
            library, tag = compiled(root, self.folder, named)
        except (OSError, LookupError, subprocess.SubprocessError) as error:
            if named:
                raise
            self.app.display_warning(f"this wheel has no compiled kernels: {error}")
            return
        build_data.update(pure_python=False, tag=f"py3-none-{tag}")
        build_data["force_include"][str(library)] = f"{PLACE}/{library.name}"
        if module := compiled_wasm(root, self.folder):
            build_data["force_include"][str(module)] = f"{PLACE}/{WASM}"
        elif named:
            raise LookupError("ziglang is not here: uv sync")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        folder: Path | None = vars(self).get("folder")
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def compiled(root: Path, folder: Path, named: str = "") -> tuple[Path, str]:
    """The library in `folder`, and the wheel's tag, for the platform of that name; without one for this machine.

    A LookupError where there is no compiler, or no such platform.
    """
    name = named or this_platform()
    kind, zig = PLATFORMS[name], zig_of(root)
    if zig:
        compiler, tag = [*zig, "c++", "-target", kind.target], kind.tag
    elif named:
        raise LookupError("ziglang is not here: uv sync")
    else:
        found = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++"))), None)
        if found is None:
            raise LookupError("there is no C++ compiler")
        low = name.startswith("macos")
        compiler = [found, *(["-mmacosx-version-min=11.0"] if low else [])]
        tag = kind.tag if low else f"{name.partition('-')[0]}_{platform.machine().lower()}".replace("windows_", "win_")
    sources, pic = root / SOURCES, [flag for flag in kind.link if flag in ("-fPIC", "-pthread")]
    many = len(kind.forms) > 1
    plain = [*compiler, *FLAGS, *pic]
    base = ["-mcpu=x86_64"] if many and zig else []
    objects = []
    for file in sorted(sources.glob("*.cpp")):
        for form in kind.forms if file.stem == "run" else [None]:
            objects.append(folder / f"{file.stem}{'' if form is None else form.name}.o")
            about = ["-DX86_BUILDS", *base] if many else []
            if form is not None:
                about = [*(form.zig if zig else form.other), f'-DBUILD_NAME="{form.name}"',
                         f"-DBUILD={form.name.replace('-', '_') if many else 'native'}"]
            call([*plain, *about, "-c", str(file), "-o", str(objects[-1])])
    library = folder / kind.library
    call([*plain, *base, "-shared", "-s", *kind.link, *map(str, objects), "-o", str(library)])
    return library, tag


def compiled_wasm(root: Path, folder: Path) -> Path | None:
    """The WebAssembly module in `folder`, by zig; None where that is not at hand."""
    zig = zig_of(root)
    if not zig:
        return None
    sources, module = root / SOURCES, folder / WASM
    arguments = (sources / "wasm.args").read_text(encoding="utf-8").split()
    call([*zig, "c++", *arguments, *map(str, sorted(sources.glob("*.cpp"))), "-o", str(module)])
    return module


def this_platform() -> str:
    """The name in PLATFORMS of the machine that this is; a LookupError for others."""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    name = f"{system}-{'x86_64' if machine == 'amd64' else machine}"
    if name not in PLATFORMS:
        raise LookupError(f"there are no kernels for {name}")
    return name


def zig_of(root: Path) -> list[str]:
    """The command of zig, where a Python that is at hand has it; else nothing."""
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang"]
    for pattern in (".venv/lib/python*/site-packages/ziglang/zig", ".venv/Lib/site-packages/ziglang/zig.exe"):
        if there := next(root.glob(pattern), None):
            return [str(there)]
    found = shutil.which("python-zig") or shutil.which("zig")
    return [found] if found else []


def call(command: list[str]) -> None:
    """Run a compiler; what it says is the error's text."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{shlex.join(command)}: {done.stderr.strip()[-2000:]}")
