"""The small networks whose weights come along: their files, their cards, and the names that commands take."""

import pytest
import torch

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.files import ZOO, along
from convatlas.segment.evaluate import PixelEvaluation

CARDS = {each.name: each for each in weights.shipped()}
DATA = {"digits": 10, "fashion-small": 10, "nuclei": 2}     # data set → classes


def test_every_file_has_a_card_and_all_are_small():
    assert CARDS.keys() == along().keys() and len(CARDS) >= 10 and {each.data for each in CARDS.values()} == set(DATA)
    assert sum(path.stat().st_size for path in ZOO.iterdir()) <= 5 * 2**20


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_how_the_weights_came_about(name):
    card = CARDS[name]
    assert card.command.startswith(f"convatlas train {card.ours} {card.data}") and f"--seed {card.seed}" in card.command
    assert card.id.partition("-")[0] == card.data.partition("-")[0] and card.licence
    assert 0 < card.interval[0] <= card.figure <= card.interval[1] <= 1 and card.images > 0 and card.seconds > 0


@pytest.mark.parametrize("name", CARDS)
def test_the_weights_go_into_their_network(name):
    card = CARDS[name]
    net = convatlas.create_model(card.ours, weights=card.id)
    assert net.num_classes == len(net.card.classes) == DATA[card.data]
    assert card.params == sum(each.numel() for each in net.parameters())
    assert net.card.provenance.metrics["epoch"] == card.epochs and net.card.provenance.data == card.data
    assert {each.dtype for each in net.parameters()} == {torch.float32}
    assert weights.read(ZOO / f"{name}.safetensors").tensors.keys() - {f"preprocess.{each}" for each in net.card.fitted
                                                                       } == net.state_dict().keys()
    again = convatlas.load(name).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", [name if name in ("lenet5.digits", "resnet20_cifar.digits")
                                  else pytest.param(name, marks=pytest.mark.slow) for name in CARDS])
def test_the_figure_on_a_card_is_what_evaluation_gives(name):
    card = CARDS[name]
    found = convatlas.evaluate(name, card.data, device="cpu")
    if isinstance(found, PixelEvaluation):
        assert card.measure == "mean IoU" and abs(found.metrics.mean_iou - card.figure) < 0.005
        assert (found.result.count, found.part) == (card.images, card.part)
        return
    assert card.measure == "top-1" and (found.evaluation.count, found.part) == (card.images, card.part)
    # another processor rounds otherwise, and an image or two lie on the border
    assert abs(found.evaluation.top1 - card.figure) * card.images <= 2.5
    assert found.evaluation.top1 > 0.7


def test_it_begins_a_training_on_other_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = convatlas.create_model("lenet5_modern", weights="digits", num_classes=3)
    kept = convatlas.load("lenet5_modern.digits").state_dict()
    same = [name for name, value in net.state_dict().items() if value.shape == kept[name].shape
            and torch.equal(value, kept[name])]
    assert net.num_classes == 3 and len(same) == len(kept) - 2


def test_what_the_user_has_under_the_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()       # of images, say
    shipped = convatlas.create_model("lenet5_modern", weights="digits")
    mine = convatlas.create_model("lenet5_modern", num_classes=4)
    weights.save(tmp_path / "digits" / "model.safetensors", mine.state_dict(), mine.card)
    assert shipped.num_classes == 10
    assert convatlas.create_model("lenet5_modern", weights="digits").num_classes == 4
    assert convatlas.load("lenet5_modern.digits").num_classes == 10


@pytest.mark.parametrize(("network", "name", "sentence"), [
    ("lenet5", "digit", r"of lenet5 come along 'digits'"),
    (None, "digits", r"did you mean '.*\.digits'"),
    (None, "lenet5.digit", r"did you mean 'lenet5\.digits'"),
    ("lenet5", "lenet5_modern.digits", "holds a 'lenet5_modern', not a 'lenet5'"),
])
def test_what_does_not_come_along_is_a_sentence(network, name, sentence):
    with pytest.raises(ConvatlasError, match=sentence):
        convatlas.load(name, network)


def test_info_tells_of_the_network_with_its_changed_fields():
    found = convatlas.info("lenet5_modern.fashion-small")
    assert found.name == "lenet5_modern" and found.params == CARDS["lenet5_modern.fashion-small"].params
    assert convatlas.info("resnet20_cifar.digits-se").spec.excite.reduction == 4
