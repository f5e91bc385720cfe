"""What one optimiser step can be made of: parts, weights of classes, running averages, masks, steps left out, want of
memory.
"""

import json

import engine_toys
import pytest
import torch
from torch import nn

from convatlas import run
from convatlas.engine.distributed import World
from convatlas.engine.evaluate import evaluate
from convatlas.engine.losses import class_weights, per_image
from convatlas.engine.memory import advice
from convatlas.engine.metrics import right
from convatlas.engine.records import read_rows
from convatlas.engine.step import Step
from convatlas.errors import ConvatlasError

HERE = World(0, 1, torch.device("cpu"))
CLOCKS = ("images_per_second", "seconds")


def curves(folder):
    return [{key: value for key, value in row.items() if key not in CLOCKS}
            for row in read_rows(folder / "metrics.csv")]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("parts", [2, 3, 16, 50])
def test_a_batch_in_parts_is_the_whole_batch(tmp_path, parts):
    whole, _ = engine_toys.train(tmp_path / "whole", HERE, net="plain")
    pieces, _ = engine_toys.train(tmp_path / "pieces", HERE, net="plain", train__accumulate=parts)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(pieces.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
    for a, b in zip(curves(tmp_path / "whole"), curves(tmp_path / "pieces"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


NEW = [
    {"train__ema": 0.9},
    {"train__ema": 0.99, "train__ema_warmup": False, "train__accumulate": 3},
    {"optim__name": "sgd_caffe", "schedule__name": "exponential", "schedule__factor": 0.9},
    {"optim__name": "rmsprop_tf", "optim__lr": 0.003, "schedule__name": "poly"},
    {"optim__groups": [{"names": "*.bias", "lr": 2, "weight_decay": 0}], "schedule__name": "steps",
     "schedule__steps": [[0.5, 0.1]]},
    {"augment__mixup": 0.3, "augment__cutmix": 1.0, "loss__label_smoothing": 0.1},
    {"loss__name": "bce", "loss__class_weights": "balanced"},
    {"sparse__sparsity": 0.5, "sparse__every": 4},
    {"train__freeze": ["0"], "train__unfreeze": [[1.5, "0"]]},
    {"train__on_nan": "skip", "optim__clip_value": 0.1},
]


@pytest.mark.parametrize("over", NEW, ids=lambda over: "-".join(over))
def test_resume_is_exact_with_each_of_them(tmp_path, over):
    model, _ = engine_toys.train(tmp_path / "whole", HERE, **over)
    engine_toys.train(tmp_path / "halves", HERE, stop=8, **over)
    resumed, _ = engine_toys.train(tmp_path / "halves", HERE, resume=True, **over)
    assert same_weights(model, resumed)
    assert curves(tmp_path / "whole") == curves(tmp_path / "halves")


@pytest.mark.parametrize("over", NEW[:7], ids=lambda over: "-".join(over))
def test_each_of_them_does_something(tmp_path, over):
    engine_toys.train(tmp_path / "with", HERE, **over)
    engine_toys.train(tmp_path / "without", HERE)
    assert curves(tmp_path / "with") != curves(tmp_path / "without")


def test_the_average_is_judged_and_kept(tmp_path):
    from safetensors.torch import load_file

    live, outcome = engine_toys.train(tmp_path, HERE, net="plain", train__ema=0.9, train__epochs=1)
    kept = load_file(tmp_path / "model.safetensors")
    assert not any(torch.equal(kept[name], weight) for name, weight in live.state_dict().items())
    judged = engine_toys.network("plain")
    judged.load_state_dict(kept)
    again = evaluate(judged, engine_toys.Loader(engine_toys.Pictures(37, seed=2), 16), run.Loss(), HERE,
                     engine_toys.CLASSES)
    assert again.loss == pytest.approx(outcome.best["val_loss"], rel=1e-6)


def test_masked_weights_stay_zero_and_their_number_stays(tmp_path):
    model, _ = engine_toys.train(tmp_path, HERE, net="plain", sparse__sparsity=0.6, sparse__every=2)
    noted = json.loads((tmp_path / "densities.json").read_text())
    assert noted["start"] == pytest.approx(noted["end"])
    assert noted["end"]["all"] == pytest.approx(0.4, abs=0.01)
    for name, weight in model.named_parameters():
        if name in noted["end"]:
            assert (weight != 0).float().mean().item() <= noted["end"][name] + 1e-6
            assert noted["end"][name] == 1 or (weight == 0).any()


def test_snip_wants_every_gradient(tmp_path):
    with pytest.raises(ConvatlasError, match=r"every weight, and 0\.weight is frozen; set sparse\.densities=uniform"):
        engine_toys.train(tmp_path / "snip", HERE, sparse__sparsity=0.5, train__freeze=["0"])
    uniform = {"sparse__densities": "uniform", "train__freeze": ["0"]}
    engine_toys.train(tmp_path / "uniform", HERE, sparse__sparsity=0.5, **uniform)


def test_the_masks_hold_on_the_average_that_is_judged_and_kept(tmp_path):
    from safetensors.torch import load_file

    sparse = {"sparse__sparsity": 0.6, "sparse__every": 2}
    engine_toys.train(tmp_path, HERE, net="plain", train__ema=0.9, train__epochs=1, **sparse)
    kept = load_file(tmp_path / "model.safetensors")
    noted = json.loads((tmp_path / "densities.json").read_text())["end"]
    for name in noted.keys() & kept.keys():
        assert (kept[name] != 0).float().mean().item() <= noted[name] + 1e-6


def test_frozen_weights_do_not_move_before_their_time(tmp_path):
    first = engine_toys.network("noisy").state_dict()
    notes = engine_toys.Notes()
    moved, _ = engine_toys.train(tmp_path / "thawed", HERE, train__freeze=["0"],
                                 train__unfreeze=[[1, "0"]], watch=notes)
    assert not torch.equal(moved.state_dict()["0.weight"], first["0.weight"])
    assert any("0.weight" in text for text in notes.told)
    still, _ = engine_toys.train(tmp_path / "frozen", HERE, train__freeze=["0"], optim__weight_decay=0.1)
    assert torch.equal(still.state_dict()["0.weight"], first["0.weight"])
    assert not torch.equal(still.state_dict()["6.weight"], first["6.weight"])


class Trips(nn.Module):
    """Scores that are not numbers in some training steps."""

    def __init__(self, *steps):
        super().__init__()
        self.net, self.steps, self.seen = engine_toys.network("noisy"), steps, 0

    def forward(self, x):
        self.seen += self.training
        return self.net(x * (torch.nan if self.training and self.seen in self.steps else 1.0))


def test_a_step_that_is_not_finite_is_left_out(tmp_path):
    notes = engine_toys.Notes()
    model, _ = engine_toys.train(tmp_path, HERE, model=Trips(3, 9), watch=notes, train__on_nan="skip")
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())       # BatchNorm's statistics too
    assert [text.split(":")[0] for text in notes.told] == [
        "The loss of step 3 in epoch 1 is not finite", "The loss of step 3 in epoch 2 is not finite"]
    assert [row["lr"] for row in notes.rows] == pytest.approx([0.025, 0.0125, 0.0125])
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in notes.rows)


def test_too_many_of_them_stop_the_run(tmp_path):
    with pytest.raises(ConvatlasError, match="epoch 1, step 4 of 6"):
        engine_toys.train(tmp_path, HERE, model=Trips(1, 2, 4), train__on_nan="skip", train__nan_limit=2)


def test_want_of_memory_is_answered_with_advice():
    hints = r"64 images.*train\.accumulate=2.*grad_checkpointing.*--amp bf16.*--batch-size 32"
    with pytest.raises(ConvatlasError, match=hints), advice(run.Run()):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="another thing"), advice(run.Run()):
        raise RuntimeError("another thing")
    with pytest.raises(ConvatlasError, match=r"MPS backend out of memory.*accumulate=2"), advice(run.Run()):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")


def test_fillers_weigh_nothing():
    torch.manual_seed(0)
    model, settings = engine_toys.network("plain"), run.Run()
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    step = Step(model, lambda net: torch.optim.SGD(net.parameters(), 0.1), settings, per_image(settings.loss, 4), 4,
                HERE)
    step.backward(engine_toys.Batch(images, labels, torch.tensor([5, -1, 7, -1]), 2), 0, 0)
    with_fillers = [parameter.grad.clone() for parameter in model.parameters()]
    assert step.tally.sums[2] == 2
    model.zero_grad()
    step.backward(engine_toys.Batch(images[::2], labels[::2], torch.tensor([5, 7]), 2), 0, 0)
    for mine, parameter in zip(with_fillers, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def test_class_weights():
    labels = torch.tensor([0, 0, 0, 1])
    weights = class_weights(run.Loss(class_weights="balanced"), labels, 2)
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    assert weights[labels].mean().item() == pytest.approx(1)
    assert class_weights(run.Loss(class_weights=(3, 1)), labels, 2).tolist() == pytest.approx([1.2, 0.4])
    assert class_weights(run.Loss(), labels, 2) is None
    with pytest.raises(ConvatlasError, match="one number of at least 0 for each of the 2 classes"):
        class_weights(run.Loss(class_weights=(1, 2, 3)), labels, 2)
    scores = torch.randn(4, 2)
    plain, weighed = (per_image(run.Loss(), 2, w)(scores, labels) for w in (None, weights))
    torch.testing.assert_close(weighed, plain * weights[labels])
    several = torch.tensor([[1.0, 0], [1, 1], [0, 0], [1, 0]])
    assert class_weights(run.Loss(name="bce", class_weights="balanced"), several,
                         2).tolist() == pytest.approx([1 / 3, 3])


def test_targets_of_every_kind():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    assert right(scores, torch.tensor([0, 2])).tolist() == [True, False]
    assert right(scores, torch.tensor([[0.3, 0.7, 0], [0, 0.6, 0.4]])).tolist() == [False, True]
    assert right(scores, torch.tensor([[1.0, 1, 0], [0, 0, 0]])).tolist() == [True, False]
    maps = torch.stack([torch.tensor([[0, 0], [1, 0]])])
    pixels = nn.functional.one_hot(maps, 3).movedim(-1, 1) * 9.0
    assert right(pixels, torch.tensor([[[0, 0], [1, 2]]])).tolist() == [0.75]
    summed, mean = (per_image(run.Loss(pixels=how, ignore_index=2), 3)(pixels, torch.tensor([[[0, 0], [1, 2]]]))
                    for how in ("sum", "mean"))
    torch.testing.assert_close(summed, mean * 3)
    many = torch.randn(2, 300)
    torch.testing.assert_close(per_image(run.Loss(), 300)(many, torch.tensor([255, 7])),
                               -many.log_softmax(1)[[0, 1], [255, 7]])
    hard, soft = torch.tensor([0, 2]), torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    for name in ("cross_entropy", "bce", "mse"):
        loss = per_image(run.Loss(name=name, label_smoothing=0.1), 3)
        torch.testing.assert_close(loss(scores, hard), loss(scores, soft))
    with pytest.raises(ConvatlasError, match="one class per image"):
        per_image(run.Loss(name="map"), 3)(scores, soft)
