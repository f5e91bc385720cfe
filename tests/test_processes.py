"""Models, specifications and runs in another process: what Ray, joblib and loaders of other libraries do with them."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

import convatlas
from convatlas.data import open_data
from convatlas.net import registry
from convatlas.recipes import names, recipe
from convatlas.run import Run


def scores(model, x):
    with torch.inference_mode():
        return model(x)


def test_a_spawned_process_gives_the_same_scores():
    torch.manual_seed(0)
    model = convatlas.create_model("resnet20_cifar", n=1, excite={"reduction": 4}).eval()
    x = torch.randn(2, 3, 32, 32)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        for net in (model, convatlas.fold(model)):      # it may have another number of threads, and so round otherwise
            torch.testing.assert_close(other.submit(scores, net, x).result(), scores(net, x), rtol=1e-6, atol=1e-6)


def test_a_model_can_be_saved_whole(tmp_path):
    model = convatlas.fold(convatlas.create_model("mobilenet_v2", image_size=64).eval())
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(x), model(x))


def test_a_copy_of_a_model_stands_alone():
    model = convatlas.create_model("lenet5").eval()
    again = copy.deepcopy(model)
    with torch.no_grad():
        next(again.parameters()).zero_()
    assert next(model.parameters()).any()
    again.reset_classifier(3)
    assert (again.num_classes, model.num_classes) == (3, 10)


@pytest.mark.parametrize("name", names())
def test_a_run_is_a_value_in_any_process(name):
    assert pickle.loads(pickle.dumps(recipe(name))) == recipe(name)


def test_a_specification_is_a_value_in_any_process():
    convatlas.list_models()
    for variant in registry.VARIANTS.values():
        assert pickle.loads(pickle.dumps(variant)) == variant == copy.deepcopy(variant)


def test_data_are_values_in_any_process():
    data = open_data(Run().data)
    again = pickle.loads(pickle.dumps(data))
    assert again.classes == data.classes and torch.equal(again.train.labels, data.train.labels)
