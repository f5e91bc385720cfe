"""int8: smaller, nearly equal, judged, and layers that it would spoil stay in fp32."""

import json
import re
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

import convatlas
from convatlas.data import Source
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.bundle import deploy, deployed
from convatlas.deploy.choose import difference, optimize
from convatlas.deploy.int8 import quantization
from convatlas.deploy.int8.figures import Accuracy
from convatlas.deploy.int8.pictures import of_run
from convatlas.deploy.int8.quantization import quantize, share
from convatlas.deploy.int8.sensitivity import layers, places, sensitivities

ENGINES = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def digits():
    """(training inputs, their classes, test inputs, their classes) of the digits that come along, as LeNet-5 takes
    them.
    """
    from convatlas.data import open_data
    from convatlas.run import Data

    source, transform = open_data(Data(source="digits")), convatlas.transforms(convatlas.create_model("lenet5_modern"))
    return *pictures(source.train, transform), *pictures(source.val, transform)


def pictures(images, transform):
    return torch.stack([transform(images.read(i)) for i in range(len(images))]), images.labels


@pytest.fixture(scope="module")
def trained(digits):
    """A LeNet-5 with ReLU that has seen the digits three times."""
    torch.manual_seed(0)
    x, y, _, _ = digits
    net = convatlas.create_model("lenet5_modern")
    net.card = replace(net.card, classes=tuple("0123456789"))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(3):
        for i in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            cross_entropy(net(x[i]), y[i]).backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def damaged(trained):
    """The same function, but c3 has weights a thousand times as large for one of its inputs as for the others: 8 bits
    cannot hold both.
    """
    net = deepcopy(trained)
    with torch.no_grad():
        net.get_submodule("stages.0.c1").weight[0] /= 1000
        net.get_submodule("stages.0.c1").bias[0] /= 1000
        net.get_submodule("stages.1.c3").weight[:, 0] *= 1000
    return net


def engine(name):
    missing = BACKENDS[name].refusal(torch.zeros(1), "int8")
    if missing:
        pytest.skip(missing)
    return name


@pytest.mark.parametrize("name", ENGINES)
def test_int8_is_smaller_and_agrees_for_any_batch(name, trained, digits):
    x, _, test, labels = digits
    fast = quantize(trained, x, engine(name), count=100, evaluate=(test, labels), seconds=0)
    found = fast.report.int8
    assert found.size < 0.5 * found.fp32_size and found.size == sum(map(len, fast.files.values()))
    assert found.layers == 5 and found.kept == () and found.calibrated_on == 100
    with torch.inference_mode():
        expected, scores = trained(test), fast(test)
        assert torch.equal(scores[:3].argmax(1), fast(test[:3]).argmax(1))
    assert 1e-4 < difference(trained, test, scores) < 0.2      # not the fp32 network, and not another one either
    assert found.before.top1 == pytest.approx((expected.argmax(1) == labels).double().mean().item())
    assert found.after.agreement == pytest.approx((expected.argmax(1) == scores.argmax(1)).double().mean().item(),
                                                  abs=0.006)
    assert found.before.top1 > 0.9 and found.drop < 0.02 and found.after.agreement > 0.97
    assert found.after.loss == pytest.approx(cross_entropy(scores, labels).item(), rel=0.02)
    speeds = {row.name: row.latency for row in fast.report.candidates}
    assert (speeds.keys() == {name, f"{name}, fp32"} and all(speeds.values())
            and f"top-1 {found.before.top1:.2%} before" in str(fast.report))


@pytest.mark.parametrize("name", ENGINES)
def test_the_layer_that_int8_spoils_stays_in_fp32(name, damaged, digits):
    x, _, test, labels = digits
    told = []
    fast = quantize(damaged, x, engine(name), count=50, evaluate=(test, labels), max_drop="1%", seconds=0,
                    tell=told.append)
    found = fast.report.int8
    first, *_, last = found.trials
    assert first.kept == 0 and found.before.top1 - first.accuracy.top1 > 0.05
    assert found.drop <= 0.01 and found.kept[0] == "stages.1.c3" == found.sensitivity[0].layer and len(found.kept) < 4
    assert any(trial.kept == len(found.kept) and trial.accuracy == found.after for trial in found.trials)
    assert f"{5 - last.kept} of 5 layers in int8" in told[-1] and "stages.1.c3" in str(fast.report)


def test_the_ranking_names_the_damaged_layer_first_and_is_the_same_each_time(trained, damaged, digits):
    x = digits[0][:100]
    rows = sensitivities(damaged, x)
    assert (rows[0].layer == "stages.1.c3" and rows[0].change > 30 * rows[1].change
            and rows[0].agreement < rows[1].agreement)
    assert rows == sensitivities(damaged, x) and {row.layer for row in rows} == set(layers(trained))
    before = {row.layer: row.change for row in sensitivities(trained, x)}
    assert rows[0].change > 100 * before["stages.1.c3"] and max(before.values()) < 0.01
    with torch.inference_mode():        # and the network is as it was
        torch.testing.assert_close(damaged(x), trained(x), rtol=1e-3, atol=1e-3)


def test_layers_are_found_by_their_numbers():
    a, b, c = torch.randn(4, 3), torch.randn(4, 3), torch.randn(2, 6, 1, 1)
    nodes = [("second", b.T.contiguous().numpy()), ("other", torch.randn(5).numpy()), ("first", a.numpy()),
             ("third", 2 * c.numpy())]
    assert places({"a": a, "b": b, "c": c, "gone": torch.randn(99)},
                  nodes) == {"a": "first", "b": "second", "c": "third"}


def test_a_folder_in_int8_answers_everywhere(trained, tmp_path, briefly):
    out = tmp_path / "net"
    report = deploy(trained, out, engine("onnxruntime"), "int8", calibrate="digits", calibration_count=60,
                    evaluate="digits", max_drop=0.02, sensitivity=True)
    about = json.loads((out / "deploy.json").read_text(encoding="utf-8"))
    assert (about["precision"] == "int8" and about["int8"]["calibrated_on"] == 60
            and len(about["int8"]["sensitivity"]) == 5)
    assert about["int8"]["after"]["top1"] == report.int8.after.top1 and about["difference"] > 1e-4
    assert (out / "model.onnx").stat().st_size == report.int8.size
    assert convatlas.evaluate(out, "digits").evaluation.top1 == pytest.approx(report.int8.after.top1, abs=0.006)
    photo = tmp_path / "seven.png"
    Image.fromarray(np.kron(np.eye(8), np.ones((4, 4))).astype(np.uint8) * 200).save(photo)
    ours = convatlas.predict(deployed(out), [photo])[0]
    program = re.search(r"```python\n(.*?)\n```", (out / "README.md").read_text(encoding="utf-8"), re.S)[1]
    told = subprocess.run([sys.executable, "-c", program, str(photo)], cwd=out, capture_output=True,
                          text=True, timeout=200)
    assert [line.split()[1] for line in told.stdout.splitlines()] == list(ours.classes), told.stderr


def test_a_run_is_calibrated_by_what_it_saw_and_judged_by_what_it_held_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (8, 8), 20 * i).save(tmp_path / "data" / name / f"{i}.png")
    data, run = str(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(convatlas.run.Run(data=convatlas.run.Data(source=data)).to_yaml(),
                                     encoding="utf-8")
    for given in ((None, None), (data, data), (None, data)):
        seen, held = of_run(run, *given)
        assert seen is held and (len(seen.train), len(held.val)) == (16, 4)
    assert of_run(run, "digits", None) == ("digits", None) == of_run(tmp_path, "digits", None)
    assert isinstance(of_run(run, data, "digits")[0], Source) and of_run(run, data, None)[1] is None
    (run / "config.yaml").write_text(convatlas.run.Run(data=convatlas.run.Data(source=data + "gone")).to_yaml(),
                                     encoding="utf-8")
    with pytest.raises(convatlas.ConvatlasError, match=r"which would calibrate int8, cannot be opened .*give "
                       r"--calibrate DATA"):
        of_run(run, None, None)


def test_without_a_bound_the_loss_is_told_and_an_absent_engine_is_left_out(damaged, digits, monkeypatch):
    x, _, test, labels = digits
    engine("onnxruntime")
    monkeypatch.setitem(BACKENDS, "openvino", Absent())
    report = quantize(damaged, x, count=20, evaluate=(test, labels), seconds=0,
                      candidates=("openvino", "onnxruntime")).report
    assert report.chosen == "onnxruntime" and report.int8.drop > 0.05
    assert "uv pip install -e '.[int8]'" in next(row.refused for row in report.candidates if row.name == "openvino")


@pytest.mark.parametrize(("needed", "trials"), [(1, [1]), (3, [1, 2, 4, 3]),
                                                (70, [1, 2, 4, 8, 16, 32, 64, 100, 82, 73, 68])])
def test_as_few_layers_as_the_trials_allow_stay_in_fp32(needed, trials):
    found, tried = narrowed(needed)
    assert tried == trials and found.kept == tuple(map(str, range(min(count for count in trials if count >= needed))))


def test_a_bound_that_cannot_be_met_is_refused():
    with pytest.raises(convatlas.ConvatlasError, match="only with every layer in fp32: take --precision bf16 or fp32"):
        narrowed(100)
    with pytest.raises(convatlas.ConvatlasError, match=r"even with all its 100 layers in fp32 top-1 falls from "
                       r"90.00% to 50.00%"):
        narrowed(101)


def narrowed(needed):
    """The search over 100 layers, of which the first `needed` must be in fp32 for 90 % to be kept; what it found, and
    what it tried.
    """
    before = SimpleNamespace(top1=0.9)
    done, tried = {0: None}, []

    def attempt(kept):
        tried.append(len(kept))
        done[len(kept)] = quantization._Try(kept, None, {}, Accuracy(0.9 if len(kept) >= needed else 0.5, 0.0, 10, 1.0))
        return done[len(kept)]

    return quantization._narrowed([str(i) for i in range(100)], attempt, done, before, 0.01), tried


class Absent(type(BACKENDS["openvino"])):
    int8_requires = ("no_such_package",)


@pytest.mark.parametrize(("text", "value"), [("0.5%", 0.005), ("0.005", 0.005), (0.01, 0.01),
                                             ("0", 0.0), (" 2 % ", 0.02)])
def test_a_share(text, value):
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["50", "-1%", "half", "150%", "%", "nan", 1.0])
def test_no_share(text):
    with pytest.raises(convatlas.ConvatlasError, match=r"such as 0\.5% or 0\.005"):
        share(text)


def test_bad_input_is_explained(trained, digits, tmp_path):
    x = digits[0]
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")

    def refused(match, images=x, name="onnxruntime", net=trained, **more):
        with pytest.raises(convatlas.ConvatlasError, match=match):
            quantize(net, images, name, **more)

    refused("'.*nowhere' is no folder", tmp_path / "nowhere")
    refused("empty' has no pictures to calibrate with", tmp_path / "empty")
    refused("the pictures of .*broken' cannot calibrate lenet5_modern: none of the 1 images can be read.*a.png",
            tmp_path / "broken")
    refused(r"takes images \(n, 1, h, w\).*not \(4, 3, 32, 32\)", torch.zeros(4, 3, 32, 32))
    refused("max_drop bounds the loss of top-1, which needs labelled pictures", max_drop="1%")
    refused("max_drop '50' is refused", evaluate=(x, digits[1]), max_drop="50")
    refused("eager has no int8: native, onnxruntime and openvino have", name="eager")
    refused("compile has no int8", name="compile")
    refused("calibration_count = 0 is refused", count=0)
    refused("training mode", net=deepcopy(trained).train())
    with pytest.raises(convatlas.ConvatlasError, match="int8 needs pictures to calibrate with"):
        deploy(trained, tmp_path / "net", "onnxruntime", "int8")
    with pytest.raises(convatlas.ConvatlasError, match="max_drop is for precision int8"):
        deploy(trained, tmp_path / "net", "onnxruntime", max_drop="1%")
    with pytest.raises(convatlas.ConvatlasError, match="int8 needs pictures to calibrate with"):
        optimize(trained, x[:1], "onnxruntime", "int8")
    assert not (tmp_path / "net").exists()
    if "cuda" not in BACKENDS["onnxruntime"].devices:
        assert "onnxruntime runs on cpu, not on meta" in BACKENDS["onnxruntime"].refusal(torch.zeros(1, device="meta"),
                                                                                         "int8")
    five = convatlas.create_model("lenet5_modern", in_chans=5).eval()
    Image.new("RGB", (40, 40)).save(tmp_path / "empty" / "a.png")
    refused("the pictures of .*empty' cannot calibrate lenet5_modern: .*3 channels.*takes 5",
            tmp_path / "empty", net=five)
