"""The kernels that a wheel brings: which are taken, and how they get there."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import convatlas
from convatlas.deploy.native import build, compiler, kernels, wasm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
hatch_build = pytest.importorskip("hatch_build", reason="hatchling is not installed")


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """As if what is compiled here were in the wheel, with no compiler and nothing compiled before."""
    if compiler() is None and build.shipped() is None:
        pytest.skip("no C++ compiler here: install g++")
    monkeypatch.setattr(build, "SHIPPED", Path(kernels()._name))
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "shipped", build.shipped.__wrapped__)


def test_a_wheel_s_kernels_need_no_compiler(wheel, monkeypatch):
    assert build.missing() is None
    assert build.kernels.__wrapped__().convatlas_lanes() > 0
    monkeypatch.setattr(build, "SHIPPED", build.SHIPPED.with_name("none.so"))
    assert "install g++" in (build.missing() or "")
    with pytest.raises(convatlas.ConvatlasError, match=r"install g\+\+"):
        build.kernels.__wrapped__()


def test_the_environment_may_name_a_build(wheel, monkeypatch):
    monkeypatch.setenv(build.NAMED, "x86-64-v9")
    with pytest.raises(convatlas.ConvatlasError, match=r"CONVATLAS_INSTRUCTIONS is 'x86-64-v9', and .* no such build"):
        build.kernels.__wrapped__()
    monkeypatch.setenv(build.NAMED, build.HERE)
    assert build.shipped() is None          # compiled here then


def test_a_library_of_another_system_is_as_good_as_none(wheel, monkeypatch, tmp_path):
    (tmp_path / "libconvatlas.so").write_bytes(b"MZ")
    monkeypatch.setattr(build, "SHIPPED", tmp_path / "libconvatlas.so")
    assert "AVX2" in (build.missing() or "")


def hook(target: str = "wheel") -> tuple[object, list[str]]:
    said: list[str] = []
    app = SimpleNamespace(display_warning=said.append)
    return hatch_build.Kernels(str(ROOT), {}, None, None, "", target, app), said


def test_an_editable_installation_compiles_nothing(monkeypatch):
    monkeypatch.setattr(hatch_build, "compiled", lambda *args: pytest.fail("it compiled"))
    for target, version, named in (("wheel", "editable", ""), ("sdist", "standard", ""), ("wheel", "standard", "none")):
        monkeypatch.setenv("CONVATLAS_PLATFORM", named)
        about: dict[str, object] = {"force_include": {}}
        hook(target)[0].initialize(version, about)
        assert about == {"force_include": {}}


def test_an_installation_never_fails_for_want_of_kernels(monkeypatch, tmp_path):
    def fails(*args: object) -> None:
        raise LookupError("there is no C++ compiler")

    monkeypatch.delenv("CONVATLAS_PLATFORM", raising=False)
    monkeypatch.setattr(hatch_build, "compiled", fails)
    made, said = hook()
    about: dict[str, object] = {"force_include": {}}
    made.initialize("standard", about)
    made.finalize("standard", about, "")
    assert about == {"force_include": {}} and said == ["this wheel has no compiled kernels: there is no C++ compiler"]
    monkeypatch.setenv("CONVATLAS_PLATFORM", "linux-aarch64")       # whoever asks for them is told
    with pytest.raises(LookupError, match="no C"):
        hook()[0].initialize("standard", about)
    monkeypatch.setenv("CONVATLAS_PLATFORM", "linux-vax")
    with pytest.raises(SystemExit, match="'linux-vax': there are none, linux-x86_64"):
        hook()[0].initialize("standard", about)


@pytest.mark.slow       # zig compiles its own C++ library first
def test_every_build_of_a_wheel_gives_torch_s_results(tmp_path):
    if not hatch_build.zig_of(ROOT):
        pytest.skip("zig is not here: uv sync")
    library, tag = hatch_build.compiled(ROOT, tmp_path)
    forms = hatch_build.PLATFORMS[hatch_build.this_platform()].forms
    assert tag and library.stat().st_size < 3_000_000
    skipped = []
    for form in forms:
        code = f"""
import sys; from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT / "tests")!r}]
from convatlas.deploy.native import build
build.SHIPPED = Path({str(library)!r})
import torch, test_native as tests
try: print(build.kernels().convatlas_instructions().decode())
except tests.convatlas.ConvatlasError as error: sys.exit(f"lacks: {{error}}")
for name in tests.NETWORKS:
    net, x = tests.network(name), torch.randn(3, 3, 12, 11)
    with torch.inference_mode(): tests.close(tests.Network(net, (3, 12, 11), 2)(x), net(x))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              env={**os.environ, build.NAMED: form.name if len(forms) > 1 else ""})
        if "lacks: " in done.stderr:
            skipped.append(form.name)
            continue
        assert (done.returncode, done.stdout) == (0, form.name + "\n"), done.stderr
    assert len(skipped) < len(forms)
    if skipped:
        pytest.skip(f"this processor cannot run {', '.join(skipped)}")


def test_every_wheel_brings_the_kernels_for_browsers(monkeypatch):
    monkeypatch.setenv("CONVATLAS_PLATFORM", "linux-aarch64")
    monkeypatch.setattr(hatch_build, "compiled", lambda root, folder, named: (folder / "libconvatlas.so", "tag"))
    monkeypatch.setattr(hatch_build, "compiled_wasm", lambda root, folder: folder / hatch_build.WASM)
    about: dict[str, object] = {"force_include": {}}
    made, _ = hook()
    made.initialize("standard", about)
    made.finalize("standard", about, "")
    places = {Path(place) for place in about["force_include"].values()}
    assert {build.SHIPPED.relative_to(ROOT / "src").with_name("libconvatlas.so"),
            wasm.SHIPPED.relative_to(ROOT / "src")} == places
    monkeypatch.undo()
    monkeypatch.setenv("CONVATLAS_PLATFORM", "linux-aarch64")
    monkeypatch.setattr(hatch_build, "compiled", lambda root, folder, named: (folder / "libconvatlas.so", "tag"))
    monkeypatch.setattr(hatch_build, "zig_of", lambda root: [])
    with pytest.raises(LookupError, match="ziglang"):
        hook()[0].initialize("standard", {"force_include": {}})


@pytest.mark.slow
def test_the_module_of_a_wheel_is_the_one_that_a_checkout_compiles(monkeypatch, tmp_path):
    if not hatch_build.zig_of(ROOT):
        pytest.skip("zig is not here: uv sync")
    made = hatch_build.compiled_wasm(ROOT, tmp_path)
    assert made.read_bytes() == wasm.module.__wrapped__()
    monkeypatch.setattr(wasm, "SHIPPED", made)
    monkeypatch.setattr(wasm, "find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert wasm.missing() is None and wasm.module.__wrapped__() == made.read_bytes()
