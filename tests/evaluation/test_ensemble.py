"""Several networks judged together, classes matched by name, and what is told of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import ConvatlasError
from convatlas.api import evaluate_each
from convatlas.evaluation.calibration import calibrate
from convatlas.evaluation.result import compare
from convatlas.run import Loss, Preprocess
from convatlas.tasks import task_of

NAMES = ("bird", "cat", "dog")


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    """Ten pictures of noise in each of three classes."""
    folder, dice = tmp_path_factory.mktemp("data") / "pets", np.random.default_rng(0)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(dice.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def network(seed, classes=NAMES, loss="cross_entropy"):
    torch.manual_seed(seed)
    net = convatlas.create_model("lecun1989_net5", num_classes=len(classes)).eval()
    net.card = replace(net.card, classes=tuple(classes), loss=Loss(name=loss), preprocess=Preprocess(crop_pct=1.0))
    return net


class Told:
    """A Watch that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tell(self, text: str) -> None:
        self.said.append(text)

    def validating(self, done: int, steps: int) -> None:
        self.last = (done, steps)


def alone(net, folder):
    """Probabilities of each picture, one at a time."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        with torch.inference_mode():
            found.append(net(convatlas.transforms(net)(Image.open(path))[None])[0])
    return torch.stack(found)


@pytest.mark.parametrize("weights, shares", [(None, (1 / 3, 1 / 3, 1 / 3)), ([1, 1, 2], (0.25, 0.25, 0.5))])
def test_probabilities_are_averaged(pets, weights, shares):
    nets = [network(1), network(2), network(3, loss="mse")]
    found = convatlas.evaluate(nets, str(pets), weights=weights, batch_size=7)
    one, two, three = (alone(net, pets) for net in nets)
    squared = ((1 + three) / 2).clamp_min(1e-6)
    mean = shares[0] * one.softmax(1) + shares[1] * two.softmax(1) + shares[2] * squared / squared.sum(1, keepdim=True)
    torch.testing.assert_close(found.probabilities, mean, atol=1e-5, rtol=1e-5)
    labels = torch.arange(3).repeat_interleave(10)
    assert found.evaluation.top1 == (mean.argmax(1) == labels).double().mean().item()
    assert found.evaluation.loss == pytest.approx(-mean[torch.arange(30), labels].log().mean().item(), rel=1e-4)
    assert found.weights == pytest.approx(shares) and found.evaluation.confusion.sum() == 30
    for member, net in zip(found.members, nets, strict=True):
        assert member.evaluation.top1 == convatlas.evaluate(net, str(pets)).evaluation.top1


def test_a_weight_of_one_is_the_member(pets):
    nets = [network(1), network(2)]
    found = convatlas.evaluate(nets, str(pets), weights=[0, 3], protocol="alexnet-10crop")
    torch.testing.assert_close(found.probabilities, found.members[1].probabilities, atol=1e-6, rtol=1e-5)
    assert (found.protocol.views == 10
            and not torch.allclose(found.probabilities, found.members[0].probabilities, atol=1e-3))


def test_members_know_classes_in_any_order(pets):
    straight, turned = network(1), network(1, ("dog", "bird", "cat"))
    with torch.no_grad():       # the same network, its scores in another order
        turned.load_state_dict(straight.state_dict())
        classifier = turned.get_classifier()
        for tensor in classifier.parameters():
            tensor.copy_(tensor[[2, 0, 1]])
    both = convatlas.evaluate([straight, turned], str(pets))
    assert both.classes == NAMES
    torch.testing.assert_close(both.probabilities, convatlas.evaluate(straight, str(pets)).probabilities,
                               atol=1e-6, rtol=1e-5)
    assert both.members[1].evaluation.top1 == both.members[0].evaluation.top1


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [-1, 2], [0, 0], [float("nan"), 1]])
def test_weights_that_do_not_fit(pets, weights):
    with pytest.raises(ConvatlasError, match="an ensemble of 2 takes 2 numbers"):
        convatlas.evaluate([network(1), network(2)], str(pets), weights=weights)


def test_members_that_know_other_classes(pets):
    with pytest.raises(ConvatlasError, match="only one of them knows 'fish'"):
        convatlas.evaluate([network(1), network(2, (*NAMES, "fish"))], str(pets))


def test_unknown_classes_are_left_out_and_told(pets):
    told, net = Told(), network(1, ("cat", "bird"))
    found = convatlas.evaluate(net, str(pets), watch=told)
    assert found.evaluation.count == 20 and found.evaluation.labels.tolist() == [1] * 10 + [0] * 10
    assert any("10 of 30 images are left out" in text and "'dog'" in text for text in told.said)
    known = alone(net, pets)[:20].argmax(1)
    assert found.evaluation.predictions.tolist() == known.tolist()
    with pytest.raises(ConvatlasError, match="does not know: 'dog'"):
        convatlas.evaluate(net, str(pets), strict=True)
    with pytest.raises(ConvatlasError, match="'bird', 'cat', 'dog'; it knows 'x', 'y', 'z'"):
        convatlas.evaluate(network(1, ("x", "y", "z")), str(pets))


def test_names_are_matched_loosely_and_told(pets):
    told = Told()
    found = convatlas.evaluate(network(1, ("Dog", "CAT", "bird")), str(pets), watch=told)
    assert found.evaluation.labels.tolist() == [2] * 10 + [1] * 10 + [0] * 10
    assert {"'cat' is taken for the model's 'CAT'", "'dog' is taken for the model's 'Dog'"} <= set(told.said)


def test_weights_without_names_are_matched_by_place_and_told(pets):
    told, net = Told(), network(1, ("a", "b", "c", "d"))
    net.card = replace(net.card, classes=())
    found = convatlas.evaluate(net, str(pets), watch=told)
    assert found.classes == (*NAMES, "class 3") and found.evaluation.labels[-1] == 2
    assert any("do not name their classes" in text for text in told.said)
    small = network(1, ("a", "b"))
    small.card = replace(small.card, classes=())
    with pytest.raises(ConvatlasError, match="2 classes, the data 3"):
        convatlas.evaluate(small, str(pets))


def test_two_networks_are_compared_image_by_image(pets):
    nets = [network(1), network(2), network(3, ("cat", "bird"))]
    a, b, c = evaluate_each(nets, str(pets))
    test = compare(a, b)
    right = [x.evaluation.right.tolist() for x in (a, b)]
    assert (test.both, test.only_a, test.only_b, test.neither) == tuple(
        sum(pair == wanted for pair in zip(*right, strict=True))
        for wanted in ((True, True), (True, False), (False, True), (False, False)))
    only = compare(b, c)            # that one knows two of three classes
    assert only.both + only.only_a + only.only_b + only.neither == 20


def test_runs_that_held_out_other_images_are_refused(pets, tmp_path):
    from convatlas import recipe
    from convatlas.run import resolve

    for seed in (1, 2, 1):
        sets = ["model.name=lecun1989_net5", f"data.source={pets}", "train.epochs=1", f"train.seed={seed}"]
        convatlas.train(resolve(recipe("zipcode"), sets=sets), out=tmp_path / str(seed), force=True)
    with pytest.raises(ConvatlasError, match="held out different images"):
        convatlas.evaluate([tmp_path / "1", tmp_path / "2"], str(pets))
    sets = ["model.name=lecun1989_net5", f"data.source={pets}", "train.epochs=1", "train.seed=2", "data.split_seed=1"]
    convatlas.train(resolve(recipe("zipcode"), sets=sets), out=tmp_path / "2", force=True)
    assert len(convatlas.evaluate([tmp_path / "1", tmp_path / "2"], str(pets)).members) == 2
    fresh = network(1)
    a, b = evaluate_each([fresh, tmp_path / "1"], str(pets))
    assert a.evaluation.count == b.evaluation.count == 6       # what the run held out


def test_several_labels_per_image(tmp_path):
    dice = np.random.default_rng(0)
    labels = dice.integers(0, 2, (8, 3))
    np.savez(tmp_path / "several.npz", images=dice.integers(0, 256, (8, 16, 16), dtype=np.uint8), labels=labels,
             classes=np.array(NAMES))
    nets = [network(seed, loss="bce") for seed in (1, 2)]
    found = convatlas.evaluate(nets, str(tmp_path / "several.npz"), protocol="alexnet-10crop")
    mean = sum(member.probabilities for member in found.members) / 2
    torch.testing.assert_close(found.probabilities, mean, atol=1e-5, rtol=1e-5)
    expected = torch.nn.functional.binary_cross_entropy(mean, torch.from_numpy(labels).float())
    assert found.evaluation.loss == pytest.approx(expected.item(), rel=1e-4)
    assert found.evaluation.mean_ap is not None and found.calibration() is None


def test_what_can_only_be_right_and_what_has_no_least_loss_is_not_told_as_a_number(pets):
    sure, other = network(1), network(2)
    found = convatlas.evaluate([sure, other], str(pets))
    assert found.top_k(5) is None and found.top_k(3) is None and 0 < found.top_k(2) <= 1 and found.top_k(1) < 1
    task = task_of("lecun1989_net5")
    lines = task.told(found, 5).parts
    assert not any("top-5" in str(part) for part in lines) and any("top-1" in str(part) for part in lines)
    assert any("top-2" in str(part) for part in task.told(found, 2).parts)
    assert task.figures(found, 5)["top5"] is None and task.figures(found, 2)["top2"] == found.top_k(2)


def test_a_temperature_at_the_bound_of_its_search_is_told_as_that():
    right = calibrate(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log(), torch.tensor([0, 1]))
    wrong = calibrate(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log(), torch.tensor([1, 0]))
    both = calibrate(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]).log(), torch.tensor([0, 0, 1]))
    assert (right.bound, wrong.bound, both.bound) == (0.01, 100.0, None)


def test_a_network_that_is_always_right_has_no_temperature(pets):
    found = convatlas.evaluate(network(1), str(pets))
    scores = torch.nn.functional.one_hot(found.evaluation.labels, 3).float()
    right, task = replace(found, evaluation=replace(found.evaluation, scores=scores)), task_of("lecun1989_net5")
    assert task.figures(right, 1)["temperature"] is None and task.figures(right, 1)["temperature_bound"] == 0.01
    assert any("no temperature gives the least log loss here" in str(part) for part in task.told(right, 1).parts)
