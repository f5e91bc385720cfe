"""Our own kernels: each against torch, in every way that tuning may choose, and what they refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convatlas
from convatlas.deploy import native as house
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.graph.rewrite import rewrite
from convatlas.deploy.native import UnsupportedError, build, compiler, engine, kernels, stored
from convatlas.deploy.native.plan import plan
from convatlas.deploy.native.work import read, written
from convatlas.files import digest
from convatlas.parts import LayerNorm2d, LocalResponseNorm
from convatlas.parts.dense import DenseBlock
from laws import build as variant
from laws import images
from parity import randomized

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")


class Network(house.Network):
    """On torch's tensors, of one of its networks."""

    def __init__(self, net: nn.Module, size: tuple[int, ...], *args: Any) -> None:
        super().__init__(plan(net, size), *args)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(super().__call__(x.numpy()))


class Sum(nn.Module):
    """Paths over one input, added or joined, then an activation."""

    def __init__(self, *paths: nn.Module, join: bool = False, act: nn.Module | None = None) -> None:
        super().__init__()
        self.paths, self.join, self.act = nn.ModuleList(paths), join, act or nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        maps = [path(x) for path in self.paths]
        return torch.cat(maps, 1) if self.join else self.act(sum(maps[1:], maps[0]))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 5, 1), nn.ReLU(), nn.Conv2d(5, channels, 1), nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Scaled(nn.Module):
    """A path times a number, as in Inception-ResNet."""

    def __init__(self, path: nn.Module, factor: float) -> None:
        super().__init__()
        self.path, self.factor = path, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.path(x)


class Last(nn.Module):
    """Channels last and back, as ConvNeXt's blocks do it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.expand, self.act, self.reduce = (nn.LayerNorm(channels), nn.Linear(channels, 50), nn.GELU(),
                                                         nn.Linear(50, channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduce(self.act(self.expand(self.norm(x.permute(0, 2, 3, 1)))))
        return x + y.permute(0, 3, 1, 2)


def conv(c: int, k: int, size: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1, groups: int = 1,
         act: nn.Module | None = None, padding: int | tuple[int, int] | None = None) -> nn.Sequential:
    high, wide = (size, size) if isinstance(size, int) else size
    around = (high // 2, wide // 2) if padding is None else padding
    return nn.Sequential(nn.Conv2d(c, k, size, stride, around, groups=groups), act or nn.ReLU())


NETWORKS = {
    "winograd": [conv(16, 24), conv(24, 70, act=nn.SiLU()), Sum(conv(70, 70, act=nn.Identity()), nn.Identity())],
    "winograd without padding": [conv(16, 33, padding=0)],
    "strides": [conv(16, 20, stride=2), conv(20, 20, (1, 7)), conv(20, 30, (7, 1), (1, 2)),
                conv(30, 8, 1, 2, act=nn.Tanh())],
    "large kernels": [conv(16, 16, 5), conv(16, 40, 7, 2, act=nn.Hardswish())],
    "groups of 4": [conv(16, 64, 1), conv(64, 64, groups=16), conv(64, 64, stride=2, groups=16)],
    "groups of 8": [conv(16, 64, 1), Sum(conv(64, 64, groups=8, act=nn.Identity()), nn.Identity()),
                    conv(64, 64, stride=2, groups=8, act=nn.SiLU())],
    "groups of 10": [conv(16, 30, 1), conv(30, 60, groups=3)],
    "groups of 16 and more": [conv(16, 96, 1), conv(96, 144, groups=3)],
    "rows of seven": [conv(16, 16, 5, padding=0), conv(16, 40, (5, 3)), conv(40, 70, 1), conv(70, 33, (3, 1))],
    "means of rows": [conv(16, 40, 1), conv(40, 40, groups=40, act=nn.SiLU()), Gate(40), conv(40, 9, 1)],
    "depthwise": [conv(16, 16, groups=16, act=nn.ReLU6()), conv(16, 16, 5, 2, groups=16),
                  conv(16, 16, (9, 11), groups=16)],
    "depthwise, odd channels": [conv(16, 19, 1), conv(19, 19, 13, groups=19), conv(19, 38, groups=19)],
    "pools": [nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False),
              nn.MaxPool2d(2, 1, 1)],
    "adaptive": [nn.AdaptiveAvgPool2d((6, 11)), nn.AdaptiveAvgPool2d((3, 1))],
    "joined": [Sum(conv(16, 32), conv(16, 16, 1), Sum(conv(16, 48, 1), conv(16, 7, 1), join=True), join=True),
               conv(103, 9)],
    "joined, odd channels": [Sum(conv(16, 7), conv(16, 9, 1), conv(16, 16), join=True), conv(32, 9)],
    "added": [Sum(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)),
              Sum(conv(16, 16), conv(16, 16, 1, act=nn.Identity()), act=nn.Sigmoid())],
    "gate": [Gate(16), conv(16, 40, 1), Gate(40)],
    "BatchNorm": [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 21, 1), nn.BatchNorm2d(21), nn.ReLU(), conv(21, 8, 3)],
    "dense": [DenseBlock([nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv(c, 24, 1), nn.Conv2d(24, 16, 3, padding=1))
                          for c in (16, 32, 48)])],
    "dense, odd channels": [DenseBlock([nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 12, 3, padding=1))
                                        for c in (16, 28, 40, 52)]), nn.BatchNorm2d(64), nn.ReLU(), conv(64, 9)],
    "local responses": [LocalResponseNorm(), conv(16, 21), LocalResponseNorm(4, 0.1, k=1.0), conv(21, 64, 1),
                        LocalResponseNorm(5, 0.3, groups=2)],
    "scaled": [Sum(Scaled(conv(16, 16, act=nn.Identity()), 0.17), nn.Identity()), conv(16, 5)],
    "square": [conv(16, 16, 1), nn.MaxPool2d(1)],       # the mean behind it has the shapes of the convolution
    "channels last": [LayerNorm2d(16), Last(16), conv(16, 21, 1), Last(21)],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("flat", [False, True])
def test_kernels_give_torch_s_result_in_every_way_that_may_be_chosen(name, flat):
    net = network(name, flat)
    x = torch.randn(4, 3, 12, 11)
    with torch.inference_mode():
        expected = net(x)
    for threads, part in ((2, 4), (2, 2), (2, 1), (3, 4), (1, 4)):
        native = Network(net, (3, 12, 11), threads, {4: part})
        close(native(x), expected)
        program = native.program(part, 4 // part >= threads)
        options = [program.options(i) for i in range(len(program.works))]
        for turn in range(max(map(len, options))):
            program._choose([each[turn % len(each)] for each in options])
            close(native(x), expected)
        close(native(x[:3]), expected[:3])          # another batch
        close(native(x[:1]), expected[:1])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_not_a_number_stays_so(name):
    """A picture with NaN in it gets no plausible score, and no other picture suffers, then or later."""
    net, x = network(name), torch.randn(3, 3, 12, 11)
    native = Network(net, (3, 12, 11), 2, {4: 4})
    spoilt = x.clone()
    spoilt[1, :, 5, 4] = torch.nan
    with torch.inference_mode():
        expected = net(x)
        assert net(spoilt)[1].isnan().all()
    found = native(spoilt)
    assert found[1].isnan().all()
    close(found[[0, 2]], expected[[0, 2]])
    close(native(x), expected)


def network(name: str, flat: bool = False) -> nn.Module:
    """The layers behind a first convolution, and a head: means, or the flattened map."""
    body = nn.Sequential(conv(3, 16), *NETWORKS[name])
    with torch.inference_mode():
        _, c, h, w = body(torch.zeros(1, 3, 12, 11)).shape
    head = ([nn.Flatten(), nn.Linear(c * h * w, 21), nn.ReLU(), nn.Linear(21, 5)] if flat
            else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 5)])
    return randomized(nn.Sequential(body, *head)).eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["joined", "square"])
def test_tuning_keeps_the_result_and_remembers_what_it_found(name):
    net, x = network(name), torch.randn(4, 3, 12, 11)
    native = Network(net, (3, 12, 11), 2)
    native.tune(x.numpy())
    with torch.inference_mode():
        close(native(x), net(x))
    assert (native.parts[4] in (1, 2, 4)
            and any(kind.startswith("winograd") or tile for kind, tile, _, _ in native.choices.values()))
    again = Network(net, (3, 12, 11), 2, native.parts, native.choices)
    torch.testing.assert_close(again(x), native(x), rtol=0, atol=0)


def test_what_a_file_claims_to_have_found_is_not_believed():
    """Numbers that no tuning gives would lead the kernels astray in memory."""
    net, x = network("winograd"), torch.randn(4, 3, 12, 11)
    honest = Network(net, (3, 12, 11), 2)
    keys = [program._key(i) for program in [honest.program(4, False)] for i in range(len(program.works))]
    for choice in (("winograd4", 1 << 40, 1, 0), ("conv", -3, 0, 0), ("winograd2", 56, 0, 0), ("depthwise", 0, 0, 0)):
        native = Network(net, (3, 12, 11), 2, {4: -1, 3: 7}, dict.fromkeys(keys, choice))
        assert native.parts == {}
        torch.testing.assert_close(native(x), honest(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("flat", [False, True])
def test_steps_are_read_back_as_they_were_written(name, flat):
    works = plan(network(name, flat), (3, 12, 11))
    tree, arrays = written(works)
    again = read(json.loads(json.dumps(tree)), arrays)
    x = torch.randn(3, 3, 12, 11).numpy()
    assert np.array_equal(house.Network(again, 2)(x), house.Network(works, 2)(x))
    assert written(again)[0] == tree


def changes() -> list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], None]]]:
    """What a file may claim that would lead the kernels astray."""
    def step(i: int, field: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        return lambda tree, arrays: tree["steps"][i].__setitem__(field, value)

    def place(i: int, which: str, at: int, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        return lambda tree, arrays: tree["steps"][i][which].__setitem__(at, value)

    def buffer(at: int, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        return lambda tree, arrays: tree["buffers"][0].__setitem__(at, value)

    def array(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        return lambda tree, arrays: arrays.__setitem__(name, value)

    short = np.zeros((16, 3, 3, 2), np.float32)
    return [
        ("a kind", step(0, "kind", "jump")), ("an activation", step(0, "activation", "relu7")),
        ("a kernel", step(0, "kernel", [5, 5])),
        ("a stride", step(0, "stride", [0, 1])), ("padding", step(0, "padding", [1, 3])),
        ("a group", step(1, "groups", 3)),
        ("no second map", step(5, "other", None)), ("a map of no buffer", place(0, "result", 0, None)),
        ("height", place(0, "result", 1, 99)), ("fewer channels read", place(1, "source", 3, 5)),
        ("a channel before", place(1, "source", 4, -1)),
        ("a channel behind", place(1, "source", 4, 1)), ("a huge map", place(0, "source", 1, 2 ** 40)),
        ("no pixels", buffer(0, 3)),
        ("a short stride", buffer(1, 4)), ("another's memory", buffer(2, 7)),
        ("a true number", place(0, "source", 1, True)),
        ("a small weight", array("0.weight", short)), ("no weight", lambda tree, arrays: arrays.pop("0.weight")),
        ("a double weight", array("0.bias", np.zeros(16))), ("a short bias", array("0.bias", np.zeros(5, np.float32))),
        ("no steps", lambda tree, arrays: tree.update(steps=[])),
        ("no buffers", lambda tree, arrays: tree.pop("buffers")),
        ("another's name", lambda tree, arrays: tree["steps"][4].update(name=tree["steps"][3]["name"])),
        ("no scores", lambda tree, arrays: tree.update(steps=tree["steps"][:-2])),
        ("no start", lambda tree, arrays: tree["steps"].pop(0)),
    ]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in changes()])
def test_steps_that_would_lead_astray_are_refused(change):
    net = randomized(nn.Sequential(conv(3, 16), conv(16, 16, groups=16), Gate(16), nn.Flatten(),
                                   nn.Linear(16 * 132, 5))).eval()
    tree, arrays = written(plan(net, (3, 12, 11)))
    assert [row["kind"] for row in tree["steps"]][:5] == ["conv", "depthwise", "mean", "conv", "conv"]
    tree = json.loads(json.dumps(tree))
    read(tree, dict(arrays))
    change(tree, arrays)
    with pytest.raises(ValueError, match=r"."):
        read(tree, arrays)


def test_batches_of_many_sizes_share_one_memory():
    native = Network(network("pools"), (3, 12, 11), 2)
    native(torch.randn(9, 3, 12, 11))
    size = native.arenas[0].size
    for batch in range(8, 0, -1):
        native(torch.randn(batch, 3, 12, 11))
    assert [arena.size for arena in native.arenas] == [size]


@pytest.mark.parametrize("name", ["winograd", "gate", "depthwise", "pools", "channels last", "local responses"])
def test_any_number_of_threads_gives_the_same_bits(name):
    works, x = plan(network(name), (3, 12, 11)), torch.randn(5, 3, 12, 11).numpy()
    one = house.Network(works, 1)(x)
    for threads in (2, 3, 4, 7):
        for part in (5, 2, 1):
            assert np.array_equal(house.Network(works, threads, {5: part})(x), one), (threads, part)


def test_many_sessions_in_threads():
    works = [plan(network(name), (3, 12, 11)) for name in ("winograd", "joined")]
    x = torch.randn(6, 3, 12, 11).numpy()
    expected = [house.Network(each, 2)(x) for each in works]
    shared = [house.Network(each, 3) for each in works]

    def session(i: int) -> bool:
        own = house.Network(works[i % 2], 2)
        return all(np.array_equal(net(x), expected[i % 2]) for _ in range(20) for net in (own, shared[i % 2]))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(session, range(16)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork()")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_fork_answers():
    """While another thread of the parent is in the middle of an answer."""
    native, x = house.Network(plan(network("winograd"), (3, 12, 11)), 2), torch.randn(3, 3, 12, 11).numpy()
    expected = native(x)
    with native.lock:
        child = os.fork()
        if not child:
            signal.alarm(60)        # a child that waits for ever is killed
            os._exit(0 if np.array_equal(native(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(native(x), expected)


@pytest.mark.parametrize("name", ["resnet20_cifar", "mobilenet_v2_035"])
def test_whole_networks(name):
    model = randomized(variant(name))
    x = images(model, 2)
    with torch.inference_mode():
        expected = model(x)
    found = Network(rewrite(model), tuple(x.shape[1:]), 2)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_older_instructions_give_the_same(monkeypatch):
    """Vectors of eight floats, as most processors have."""
    if "avx512f" not in build._instructions():
        pytest.skip("this processor has no wider vectors to do without")
    narrow = kernels((*build.FLAGS, "-mno-avx512f"))
    assert (narrow.convatlas_lanes(), kernels().convatlas_lanes()) == (8, 16)
    monkeypatch.setattr("convatlas.deploy.native.engine.kernels", lambda: narrow)
    for name in ("winograd", "depthwise, odd channels", "joined", "gate", "channels last", "groups of 4"):
        net, x = network(name), torch.randn(3, 3, 12, 11)
        with torch.inference_mode():
            close(Network(net, (3, 12, 11), 2)(x), net(x))


@pytest.mark.parametrize(("layer", "reason"), [
    (nn.Conv2d(16, 16, 3, padding="same"), "no padding by name"), (nn.PReLU(), "no PReLU"),
    (nn.Upsample(scale_factor=1.5), "by whole numbers"), (nn.AvgPool2d(2, divisor_override=3), "no divisor_override"),
    (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "without align_corners"),
    (nn.ConvTranspose2d(16, 16, 3, groups=2), "no transposed convolution with groups")])
def test_what_is_not_known_is_refused_by_its_name(layer, reason):
    with pytest.raises(UnsupportedError, match=reason):
        Network(nn.Sequential(conv(3, 16), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 12, 11), 2)


def test_auto_goes_on_without_it():
    model, x = variant("lenet5").eval(), torch.randn(1, 1, 32, 32)
    model.head.output = nn.PReLU().eval()
    report = convatlas.deploy.optimize(model, x, candidates=("eager", "native"), cache=False, seconds=0).report
    assert report.chosen == "eager" and report.candidates[1].refused == "native has no PReLU"


def test_parallel_convolutions_are_read_back_as_they_were_written(tmp_path):
    model = randomized(variant("googlenet_bn"))
    x = images(model, 2)
    with torch.inference_mode():
        expected = model(x)
    native = BACKENDS["native"]
    built, size = native.build(model, x, "fp32", tmp_path)
    assert size == sum(file.stat().st_size for file in tmp_path.iterdir())
    for scores in (built(x), native.open(tmp_path, x, "fp32")(x)):
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_what_is_no_map_is_refused_as_a_result():
    class Sizes(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return torch.relu(x), x.shape[1]

    with pytest.raises(UnsupportedError, match="something else"):
        Network(Sizes(), (3, 12, 11), 2)


def test_a_compiler_that_fails_or_is_absent_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(convatlas.ConvatlasError, match=r"does not compile the native kernels: .*no-such-flag"):
        build.kernels((*build.FLAGS, "--no-such-flag"))
    monkeypatch.setattr(build, "compiler", lambda: None)
    with pytest.raises(convatlas.ConvatlasError, match=r"install g\+\+ or clang"):
        build.kernels((*build.FLAGS, "-O2"))
    assert "CXX" in (BACKENDS["native"].missing() or "")


def test_files_that_were_edited_are_refused(tmp_path):
    """They would give other scores, plausible ones."""
    network_ = Network(network("square"), (3, 12, 11), 1)
    x = np.zeros((1, 3, 12, 11), np.float32)
    for name, edit in {
        "native.json": lambda text: text.replace(b'"threads": 1', b'"threads": 2'),
        "native.safetensors": lambda text: text[:-400] + bytes(400),
    }.items():
        stored.save(network_, tmp_path)
        assert stored.load(tmp_path)(x).shape == (1, 5)
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(edit(before))
        assert (tmp_path / name).read_bytes() != before
        with pytest.raises(convatlas.ConvatlasError, match=rf"{name} has been changed\): deploy again"):
            stored.load(tmp_path)


TINY = ("-O0", "-march=native", "-pthread", "-shared", "-fPIC", "-std=c++17")      # compiles soon


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A cache folder, compiled once."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        build.kernels.__wrapped__(TINY)
    return folder


@pytest.fixture
def library(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny / "convatlas", tmp_path / "convatlas")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (found,) = (tmp_path / "convatlas/native").glob("*.so")
    return found


def test_memory_that_a_file_claims_is_not_given(tmp_path):
    stored.save(Network(network("square"), (3, 12, 11), 1), tmp_path)
    tree = json.loads((tmp_path / "native.json").read_text())
    del tree["sha256"], tree["weights_sha256"]          # as in the oldest files
    tree["buffers"][0][0] = 2**31 - 1
    (tmp_path / "native.json").write_text(json.dumps(tree))
    with pytest.raises(convatlas.ConvatlasError, match=r"maps of one image take \d+\.\d GB, more memory than is free"):
        stored.load(tmp_path)


def test_a_library_that_is_there_needs_no_compiler(library, monkeypatch):
    before = library.stat().st_mtime_ns
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert build.kernels.__wrapped__(TINY).convatlas_lanes() > 0 and library.stat().st_mtime_ns == before
    monkeypatch.setattr(build, "FLAGS", TINY)
    assert build.missing() is None


@pytest.mark.parametrize("damage", ["truncated", "a byte flipped", "others may write it", "no checksum"])
def test_a_library_that_is_not_as_it_was_left_is_compiled_anew(library, damage):
    content = library.read_bytes()
    other = library.with_suffix(".other")       # what is loaded here must not change under its process
    library.rename(other)
    if damage == "truncated":
        library.write_bytes(content[: len(content) // 2])
    elif damage == "a byte flipped":
        library.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    else:
        library.write_bytes(content)
    library.chmod(0o777 if damage == "others may write it" else 0o700)
    if damage == "no checksum":
        library.with_suffix(".sha256").unlink()
    inode = library.stat().st_ino
    assert build.kernels.__wrapped__(TINY).convatlas_lanes() > 0
    assert library.stat().st_ino != inode and library.stat().st_mode & 0o777 == 0o700
    assert library.with_suffix(".sha256").read_text() == digest(library)


def test_without_a_cache_folder_kernels_are_compiled_for_the_process(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build.kernels.__wrapped__(TINY).convatlas_lanes() > 0


@pytest.mark.slow       # test_bundle and test_reader have its parts
def test_a_deployed_folder_answers_by_the_command_line(tmp_path):
    from PIL import Image

    model = variant("resnet20_cifar")
    convatlas.save(model, tmp_path / "net.safetensors")
    Image.new("RGB", (32, 32), (200, 30, 90)).save(tmp_path / "a.png")

    def run(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "convatlas", *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("deploy", "net.safetensors", "--out", "fast", "--backend", "native", "--batch", "2")
    tuned = json.loads((tmp_path / "fast" / "native.json").read_text(encoding="utf-8"))
    assert tuned["threads"] >= 1 and tuned["layers"]
    ours, plain = (json.loads(run("predict", which, "a.png", "--json", "--top-k", "3"))
                   for which in ("fast", "net.safetensors"))
    ours, plain = ([(each["class"], each["probability"]) for each in found["images"][0]["predictions"]]
                   for found in (ours, plain))
    assert [name for name, _ in ours] == [name for name, _ in plain]
    assert [share for _, share in ours] == pytest.approx([share for _, share in plain], rel=1e-3)
    (tmp_path / "fast" / "native.json").write_text('{"threads": 2}')
    with pytest.raises(convatlas.ConvatlasError, match=r"native.json' and native.safetensors beside it are not what"):
        convatlas.deploy.deployed(tmp_path / "fast")


@pytest.mark.parametrize(("what", "here"), [("struct Step", "kind"), ("enum Kind", "conv"),
                                            ("enum Activation", "none")])
def test_sources_in_another_order_are_refused(monkeypatch, what, here):
    def names_in(asked: str) -> tuple[str, ...]:
        first, second, *rest = build.names_in(asked)
        return (second, first, *rest) if asked == what else (first, second, *rest)

    engine.check_order.__wrapped__()
    monkeypatch.setattr(engine, "names_in", names_in)
    with pytest.raises(convatlas.ConvatlasError, match=f"{what} has [a-z0-9]+ where "
                       f"convatlas.deploy.native has {here}"):
        engine.check_order.__wrapped__()
