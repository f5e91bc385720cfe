"""The C interface: a deployed folder's answers without Python, equal to those with it."""

import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_native import NETWORKS, network
from test_native_bytes import NETWORKS as OF_BYTES
from test_native_bytes import network as of_bytes
from test_native_bytes import whole

import convatlas
from convatlas.deploy import deploy
from convatlas.deploy import native as house
from convatlas.deploy.native import build, compiler, kernels, stored
from convatlas.deploy.native.plan import plan
from laws import build as variant
from parity import randomized

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")

SOURCES = Path(build.__file__).parent / "kernels"
REPLAY = Path(__file__).parent / "replay.c"


@pytest.fixture(scope="module")
def library():
    found = ctypes.CDLL(kernels()._name)
    found.convatlas_open.argtypes, found.convatlas_open.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    found.convatlas_close.argtypes = [ctypes.c_void_p]
    found.convatlas_error.restype = ctypes.c_char_p
    found.convatlas_results.argtypes = found.convatlas_classes.argtypes = [ctypes.c_void_p]
    found.convatlas_scores.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    return found


def described(folder: Path, channels: int = 3) -> None:
    """The least that deploy.json says."""
    about = {"format": 1, "backend": "native", "classes": None, "input": {"mean": [0.5], "std": [0.25] * channels}}
    (folder / "deploy.json").write_text(json.dumps(about))


def answers(library, folder: Path, x: np.ndarray, classes: int, threads: int = 2) -> np.ndarray:
    net = library.convatlas_open(str(folder).encode(), threads)
    assert net, library.convatlas_error().decode()
    scores = np.empty((len(x), classes), np.float32)
    assert not library.convatlas_scores(net, x.ctypes.data, len(x), scores.ctypes.data), library.convatlas_error()
    library.convatlas_close(net)
    return scores


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("flat", [False, True])
def test_every_step_gives_python_s_result(library, name, flat, tmp_path):
    net = house.Network(plan(network(name, flat), (3, 12, 11)), 2)
    x = np.random.default_rng(0).standard_normal((5, 3, 12, 11), np.float32)
    for kind in ("conv", "winograd2", "winograd4"):         # as tuning might have found it
        for images, apart in ((1, False), (1, True)):
            program = net.program(images, apart)
            for i in range(len(program.works)):
                ways = [way for way in program.options(i) if way[0] == kind]
                if ways:
                    net.choices[program._key(i)] = ways[-1]
            program._choose(program._known())
        net.parts = {5: 1}
        expected = net(x)
        stored.save(net, tmp_path)
        described(tmp_path)
        for count in (5, 1):
            found = answers(library, tmp_path, x[:count], 5)
            assert np.abs(found - expected[:count]).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["depthwise", "means of rows"])
def test_any_number_of_rows_at_a_time_gives_python_s_result(library, name, tmp_path):
    net = house.Network(plan(network(name), (3, 40, 37)), 2)
    x = np.random.default_rng(0).standard_normal((3, 3, 40, 37), np.float32)
    expected, tried = net(x), set()
    for pick in (0, 1, -1):
        for program in (net.program(1, False), net.program(1, True)):
            for i in program.chains:
                rows = sorted(program.bands(i))
                net.choices[program._chain_key(i)] = "bands", rows[min(pick, len(rows) - 1)], 0, 0
                tried |= set(rows)
        stored.save(net, tmp_path)
        described(tmp_path)
        for count in (3, 1):
            found = answers(library, tmp_path, x[:count], 5)
            assert np.abs(found - expected[:count]).max() <= 1e-5 * np.abs(expected).max()
    assert len(tried) > 1


@pytest.mark.parametrize("name", OF_BYTES)
def test_steps_on_bytes_give_python_s_result_to_the_bit(library, name, tmp_path):
    works, x = whole(of_bytes(name), (3, 13, 11))
    stored.save(house.Network(works, 2), tmp_path)
    described(tmp_path)
    floats = name == "floats between"           # whose sums are of another order for one image at a time
    for count in (3, 1):
        found, expected = answers(library, tmp_path, x[:count], 5), house.Network(works, 2)(x[:count])
        assert np.abs(found - expected).max() <= (1e-5 * np.abs(expected).max() if floats else 0)


def test_a_linear_layer_on_bytes_takes_a_whole_map_as_python_does(library, tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 20, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                              torch.nn.Linear(20 * 5 * 4, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
    works, x = whole(net, (3, 7, 6))
    stored.save(house.Network(works, 2), tmp_path)
    described(tmp_path)
    assert np.array_equal(answers(library, tmp_path, x, 5), house.Network(works, 2)(x))


@pytest.mark.parametrize(("before", "after"), [
    (b'"bounds": [0, 255]', b'"bounds": [0, 256]'), (b'"zeros": [', b'"zeros": [-1, 0, 0], "x": ['),
    (b'"kind": "qmean"', b'"kind": "mean"'), (b'"kind": "qconv"', b'"kind": "conv"'), (b", null, 1]", b", null]")])
def test_steps_on_bytes_that_would_lead_astray_are_refused(library, tmp_path, before, after):
    works, _ = whole(of_bytes("gates"), (3, 13, 11))
    stored.save(house.Network(works, 2), tmp_path)
    described(tmp_path)
    text = (tmp_path / "native.json").read_bytes()
    assert before in text
    (tmp_path / "native.json").write_bytes(text.replace(before, after))
    assert not library.convatlas_open(str(tmp_path).encode(), 1)
    said = library.convatlas_error().decode()
    assert "that is none" in said or "out of its range" in said


def test_a_folder_in_int8_is_answered_as_from_python(library, tmp_path):
    torch.manual_seed(0)
    model = convatlas.create_model("mobilenet_v2", num_classes=5, image_size=32).eval()
    x = torch.randn(4, 3, 32, 32)
    deploy(model, tmp_path / "small", "native", "int8", calibrate=x)
    with torch.inference_mode():
        expected = convatlas.deploy.deployed(tmp_path / "small")(x).numpy()
    assert np.array_equal(answers(library, tmp_path / "small", x.numpy(), 5), expected)


def test_a_network_that_scores_pixels_opens_by_its_folder(library, tmp_path):
    net = house.Network(plan(randomized(torch.nn.Sequential(torch.nn.Conv2d(3, 9, 3, 2, 1), torch.nn.ReLU(),
                                                            torch.nn.Conv2d(9, 5, 1))), (3, 12, 11)), 2)
    x = np.random.default_rng(0).standard_normal((2, 3, 12, 11), np.float32)
    stored.save(net, tmp_path)
    described(tmp_path)
    opened = library.convatlas_open(str(tmp_path).encode(), 2)
    assert opened, library.convatlas_error().decode()
    expected = net(x)
    assert library.convatlas_results(opened) == expected[0].size == 5 * 6 * 6
    assert library.convatlas_classes(opened) == 5
    library.convatlas_close(opened)
    found = answers(library, tmp_path, x, expected[0].size)
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("file", "edit", "reason"), [
    ("native.json", lambda text: text[:-300], "no JSON"),
    ("native.json", lambda text: text.replace(b'"groups": 1', b'"groups": 3'), "a step conv that is none"),
    ("native.json", lambda text: text.replace(b'"kind": "conv"', b'"kind": "jump"'), "there is no 'jump'"),
    ("native.json", lambda text: text.replace(b'"kernel": [3, 3]', b'"kernel": [5, 5]'), "a step conv that is none"),
    ("native.json", lambda text: text.replace(b'"format": 2', b'"format": 9'), "newer convatlas"),
    ("native.json", lambda text: text.replace(b'"steps": [', b'"steps": [], "x": ['), "from one image to scores"),
    ("native.safetensors", lambda text: text[:-40], "not where it should be"),
    ("native.safetensors", lambda text: b"\xff" * 8 + text[8:], "cut off"),
    ("deploy.json", lambda text: b"{}", "another backend"),
    ("deploy.json", lambda text: b"[" * 100000, "no JSON"),
    ("deploy.json", lambda text: text.replace(b'"classes": null', b'"classes": ["a"]'), "another number of classes"),
])
def test_files_that_would_lead_astray_are_refused(library, tmp_path, file, edit, reason):
    stored.save(house.Network(plan(network("square"), (3, 12, 11)), 2), tmp_path)
    described(tmp_path)
    before = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(edit(before))
    assert (tmp_path / file).read_bytes() != before
    assert not library.convatlas_open(str(tmp_path).encode(), 1)
    said = library.convatlas_error().decode()
    assert said.startswith(f"'{tmp_path}' cannot be opened: ") and reason in said


def test_a_folder_that_is_not_there_is_named(library, tmp_path):
    assert not library.convatlas_open(str(tmp_path / "none").encode(), 1)
    assert "none/deploy.json' cannot be opened: No such file" in library.convatlas_error().decode()


def test_the_example_answers_a_picture(tmp_path):
    """As `convatlas.predict` does."""
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        pytest.skip("no C compiler here")
    model = randomized(variant("resnet20_cifar"))
    deploy(model, tmp_path / "net", "native")
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.ppm")
    library, example = kernels()._name, Path(__file__).parents[2] / "examples" / "answer.c"
    subprocess.run([cc, str(example), "-I", str(SOURCES), "-o", str(tmp_path / "answer"), library, "-lm"], check=True)
    done = subprocess.run([str(tmp_path / "answer"), str(tmp_path / "net"), str(tmp_path / "a.ppm")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    best, name, share, instructions = done.stdout.split()
    with torch.inference_mode():
        (expected,) = convatlas.predict(tmp_path / "net", [tmp_path / "a.ppm"], top_k=1)
    assert name in ("-", expected.classes[0]) and float(share) == pytest.approx(expected.probabilities[0], rel=1e-3)
    assert int(best) >= 0 and instructions == kernels().convatlas_instructions().decode()
    Image.fromarray(pixels[:30]).save(tmp_path / "a.ppm")
    done = subprocess.run([str(tmp_path / "answer"), str(tmp_path / "net"), str(tmp_path / "a.ppm")],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "no binary PPM of 32 x 32 pixels and 3 channels" in done.stderr


def written(tmp_path: Path) -> list[Path]:
    """Folders for replay.c: every kernel, on images of random sizes, computed in random ways."""
    dice, folders = random.Random(0), list[Path]()

    def leave(net: house.Network, x: np.ndarray) -> None:
        folder = tmp_path / f"{len(folders)}"
        folder.mkdir()
        stored.save(net, folder)
        described(folder)
        x.tofile(folder / "input.bin")
        net(x).tofile(folder / "expected.bin")
        folders.append(folder)

    for name in OF_BYTES:
        works, x = whole(of_bytes(name), (3, 13, 11))
        leave(house.Network(works, 2), x)
    for name in NETWORKS:
        for flat in (False, True):
            fixed = flat or name in ("adaptive", "square")
            size = (3, 12, 11) if fixed else (3, dice.randint(9, 30), dice.randint(9, 30))
            net = house.Network(plan(network(name, flat), size), 2)
            x = np.random.default_rng(len(folders)).standard_normal((3, *size), np.float32)
            for kind in ("conv", "winograd2", "winograd4"):
                program = net.program(1, True)
                for i in range(len(program.works)):
                    if ways := [way for way in program.options(i) if way[0] == kind]:
                        net.choices[program._key(i)] = dice.choice(ways)
                leave(net, x)
    return folders


@pytest.mark.slow
def test_arm64_gives_the_same_under_emulation(tmp_path):
    """As written here, and answered by the arm64 build under qemu-user."""
    emulator, system = shutil.which("qemu-aarch64"), Path("/usr/aarch64-linux-gnu")
    if emulator is None or not system.is_dir():
        pytest.skip("no emulator here: apt-get install qemu-user libc6-arm64-cross")
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    hatch_build = pytest.importorskip("hatch_build", reason="hatchling is not installed")
    if not hatch_build.zig_of(root):
        pytest.skip("zig is not here: uv sync")
    (tmp_path / "built").mkdir()
    library, _ = hatch_build.compiled(root, tmp_path / "built", "linux-aarch64")
    target = hatch_build.PLATFORMS["linux-aarch64"].target
    hatch_build.call([*hatch_build.zig_of(root), "cc", "-target", target, "-O1", "-I", str(SOURCES), str(REPLAY),
                      str(library), "-lm", "-o", str(tmp_path / "replay"), f"-Wl,-rpath,{library.parent}"])
    folders = written(tmp_path)
    done = subprocess.run([emulator, "-L", str(system), str(tmp_path / "replay"), "3", *map(str, folders)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(folders) and {row[0] for row in rows} == {"armv8"}
    print("largest relative difference:", max(float(row[1]) for row in rows))


@pytest.mark.slow
@pytest.mark.timeout(1800)      # the kernels are compiled with the sanitizer, for minutes
@pytest.mark.parametrize(("sanitizers", "planted"), [("address,undefined", "AddressSanitizer: heap-buffer-overflow"),
                                                     ("thread", "ThreadSanitizer: data race")])
def test_sanitizers_find_nothing_but_what_is_planted(sanitizers, planted, tmp_path):
    """Reads and writes outside memory, what C++ leaves undefined, and races; with an overrun and a race of our own."""
    made = [str(tmp_path / name) for name in ("replay.o", "replay")]
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined", "-g", "-O1", "-pthread"]
    subprocess.run([compiler(), "-x", "c", *flags, "-I", str(SOURCES), "-c", str(REPLAY), "-o", made[0]], check=True)
    done = subprocess.run([compiler(), *flags, "-march=native", "-std=c++17", *map(str, SOURCES.glob("*.cpp")), made[0],
                           "-lm", "-o", made[1]], capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip(f"the compiler here has no {sanitizers} sanitizer")
    assert done.returncode == 0, done.stderr
    folders = [str(folder) for folder in written(tmp_path)]
    done = subprocess.run([made[1], "3", *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    done = subprocess.run([made[1], "3", folders[0]], capture_output=True, text=True,
                          env={**os.environ, "PLANTED": "1"})
    assert done.returncode and planted in done.stderr
