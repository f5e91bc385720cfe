"""Comparisons of speed: what is compared, what is refused, and the figures made of the turns."""

import json

import pytest
import torch
from torch import nn

import convatlas
from convatlas.deploy.bench import comparison as house
from convatlas.deploy.bench.comparison import Comparison, Side, again, bench, plain
from convatlas.deploy.bench.plot import draw
from convatlas.deploy.bench.sides import NEEDS, by_mnn, by_ncnn, chosen, prepare, settled, side, theirs, turn
from convatlas.deploy.machine import OPERATIONS, SIDE, matrix_product


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A network's weights for all sides, images of 64×64 in batches of 2."""
    about = {"model": "resnet18", "image_size": 64, "folder": str(tmp_path_factory.mktemp("bench")),
             "libraries": ["timm", "torchvision"]}
    return about | prepare(about) | {"batch": 2}


def test_both_libraries_own_models_get_the_same_weights(job):
    assert job["peers"]["timm"]["name"] == job["peers"]["torchvision"]["name"] == "resnet18" and job["size"] == (64, 64)
    ours = convatlas.load(job["folder"] + "/ours.safetensors")
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = ours(x)
        assert expected.std() > 0.1
        for library in ("timm", "torchvision"):
            model = theirs(library, job)
            assert not type(model).__module__.startswith("convatlas") and not model.training
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_a_settled_network_does_something_in_every_layer():
    net = settled(convatlas.create_model("resnet20_cifar"))
    widths: list[float] = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, __, out: widths.append(out.std().item()))
    with torch.inference_mode():
        net(torch.randn(8, 3, 32, 32))
    assert len(widths) > 10 and min(widths) > 0.3 and max(widths) < 3
    assert all(module.momentum == 0.1 and not module.training for module in net.modules()
               if isinstance(module, nn.BatchNorm2d))


def test_a_network_that_no_library_has_is_compared_with_itself_and_files_keep_their_weights(tmp_path):
    path = convatlas.save(convatlas.create_model("lenet5").eval(), tmp_path / "net.safetensors")
    net, peers = chosen(str(path), ["timm"])
    assert not peers
    kept = convatlas.load(path).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in net.state_dict().items())
    with pytest.raises(convatlas.ConvatlasError, match="segments"):
        chosen("unet", ["timm"])


def test_turns_count_calls_not_the_first_short_one():
    calls: list[int] = []
    times = turn(lambda x: calls.append(1) or x, torch.zeros(1), 0.01)
    assert len(times) == len(calls) - 1
    assert len(turn(lambda x: x, torch.zeros(1), 0.0)) == 1


def test_the_matrix_product_is_a_product():
    product = matrix_product()()
    assert product.shape == (SIDE, SIDE) and OPERATIONS == 2 * SIDE * SIDE * SIDE
    dice = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=dice) for _ in range(2))
    torch.testing.assert_close(product[:3], left[:3] @ right.T, rtol=0, atol=1e-2)


def test_figures_are_made_of_rounds():
    given = {"macs": OPERATIONS // 4, "batch": 2}       # as much work as the matrix product
    turns = {"matrix": [{"times": [1.0]}, {"times": [2.0]}, {"times": [1.0]}],
             "ours": [{"times": [2.0, 2.0, 9.0], "cpu": [3.0, 3.0, 3.5], "memory": 5, "idle": 0.0},
                      {"times": [4.0], "cpu": [4.0], "memory": 6, "idle": 0.1},
                      {"times": [2.0], "cpu": [2.0], "memory": 7, "idle": 0.0}],
             "timm": [{"times": [6.0], "cpu": [9.0], "memory": 1, "idle": 0.0},
                      {"times": [8.0], "cpu": [6.0], "memory": 1, "idle": 0.0},
                      {"times": [8.0], "cpu": [5.0], "memory": 1, "idle": 0.0}]}
    ours, timm = (house._side(name, 1.5, turns, given, 0.0) for name in ("ours", "timm"))
    assert (ours.latency, ours.best, ours.spread, ours.throughput, ours.share) == (2.0, 2.0, (2.0, 4.0), 1.0, 0.5)
    assert timm.ratios == (3.0, 2.0, 4.0) and timm.ratio == 3.0 and ours.ratio == 1.0
    assert ours.memory == 7 and ours.idle == 0.1
    assert (ours.cpu, timm.cpu, ours.cpu_ratio, timm.cpu_ratio) == (3.0, 6.0, 1.0, 2.5)


def test_what_is_not_equal_is_refused(tmp_path):
    from safetensors.torch import save_file

    given = {"folder": str(tmp_path), "batch": 1, "name": "net"}
    scores = torch.tensor([[1.0, -2.0]])
    for name, off in (("ours", 0.0), ("timm", 1e-3), ("openvino", float("nan"))):
        save_file({"scores": scores + off}, tmp_path / f"{name}-1.scores")
    save_file({"scores": torch.zeros(1, 3)}, tmp_path / "compile-1.scores")
    found = house._differences(given, ["ours", "timm", "openvino", "compile"])
    assert (found["ours"] == 0 and abs(found["timm"] - 5e-4) < 1e-6 and not found["openvino"] <= 1
            and found["compile"] == float("inf"))


def test_a_comparison_can_be_written_read_and_drawn():
    sides = (Side("ours", 0.1, 0.09, (0.1, 0.2), 10.0, 1.0, (1.0,), 0.3, 1.0, 5, 0.0, 0.0),
             Side("timm", 0.2, 0.19, (0.2, 0.3), 5.0, 2.0, (2.0,), 0.1),
             Side("openvino", 0.05, 0.05, (0.05, 0.05), 20.0, 0.5, (0.5,), 0.6), Side("torchvision", refused="no"))
    compared = Comparison("resnet18", "resnet18", 2, (64, 64), 10, {"timm": "resnet18"}, "eager",
                          ({"name": "eager"},), 1e9, 1, sides, 2, (0.1, 0.3))
    assert again(json.loads(json.dumps(plain(compared)))) == compared
    assert compared.eager is sides[1] and compared.best_engine is sides[2] and compared.side("torchvision") is None
    axes = draw([compared]).axes[0]
    assert [tuple(dots.get_offsets()[0]) for dots in axes.collections] == [(2.0, 0), (0.5, 0)]
    with pytest.raises(convatlas.ConvatlasError, match="not the results"):
        again({"sides": []})


def test_what_is_known_is_not_measured_again():
    sides = (Side("ours", 0.1), Side("timm", refused="no"))
    known = [Comparison("lenet5", "lenet5", 1, (32, 32), 10, {}, "eager", (), 1e9, 1, sides)]
    assert bench("lenet5", (1,), ("timm",), known=known, image_size=32) == []
    assert not any(house._covers(known[0], *other) for other in (
        ("lenet5", 2, None, ("timm",)), ("lenet4", 1, None, ("timm",)), ("lenet5", 1, 28, ("timm",)),
        ("lenet5", 1, None, ("openvino",))))
    with pytest.raises(convatlas.ConvatlasError, match="no model"):      # on one thread it is another comparison
        bench("lenet5", (1,), ("timm",), known=known, image_size=32, threads=1, tell=_stop)


def _stop(line: str) -> None:
    raise convatlas.ConvatlasError(f"no model is made: {line}")


def test_engines_that_only_the_benchmark_needs_give_the_model_s_scores(tmp_path):
    """ncnn and MNN, by what they call their converters themselves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    x = torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        expected = model(x)
    for name, make in (("ncnn", by_ncnn), ("mnn", by_mnn)):
        for package in NEEDS[name]:
            pytest.importorskip(package, reason=f"{package} is not here: uv sync --group bench")
        torch.testing.assert_close(make(model, x, tmp_path / f"a-{name}")(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("words", "said"), [
    ({"against": ("tensorrt",)}, "tensorrt is unknown"), ({"rounds": 0}, "must be positive"),
    ({"batches": (0,)}, "must be positive")])
def test_wrong_words_are_told_before_any_work(words, said):
    with pytest.raises(convatlas.ConvatlasError, match=said):
        bench("lenet5", **words)


def test_a_failing_process_says_why(tmp_path):
    with pytest.raises(convatlas.ConvatlasError, match="no model 'resnet19'"):
        bench("resnet19", tell=lambda _: None)


@pytest.mark.slow
def test_sides_in_their_processes_are_compared():
    pytest.importorskip("openvino")
    told: list[str] = []
    found, = bench("lenet5", (4,), ("openvino",), backend="eager", rounds=2, seconds=0.05, tell=told.append)
    assert ([each.name for each in found.sides] == ["ours", "convatlas", "openvino"]
            and told[-1].endswith("round 2 of 2"))
    assert all(each.refused is None and each.difference <= 1e-4 and each.latency > 0 and len(each.ratios) == 2
               for each in found.sides)
    assert (found.backend == "eager" and not found.peers and found.matrix_rate > 1e8
            and found.best_engine.name == "openvino")


def test_a_side_runs_the_library_model(job):
    assert side(job | {"side": "torchvision", "of": "torchvision"})(torch.randn(2, 3, 64, 64)).shape == (2, 1000)
