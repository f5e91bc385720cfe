"""The digits that come along are the UCI ones, and their validation part is the one the file lists."""

import numpy as np
import torch

from convatlas.data import open_data
from convatlas.data.embedded import validation_indices
from convatlas.data.split import stratified
from convatlas.run import Data


def test_they_equal_scikit_learns_copy():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    source = open_data(Data(source="digits"))
    base = source.train.base
    assert source.val.base is base
    assert base.labels.tolist() == theirs.target.tolist()
    assert torch.equal(base.images[:, 0], torch.from_numpy(np.rint(theirs.images * 255 / 16).astype(np.uint8)))
    assert int(base.images.max()) == 255 and source.classes == tuple("0123456789")


def test_validation_file_is_what_its_seed_gives():
    source = open_data(Data(source="digits"))
    _, held = stratified(source.train.base.labels, 0.2, seed=0)
    assert validation_indices() == held.tolist() and len(held) == 360


def test_parts_share_nothing_and_miss_nothing():
    source = open_data(Data(source="digits", val_fraction=0.5), seed=7)     # neither matters here
    train, val = set(source.train.indices.tolist()), set(source.val.indices.tolist())
    assert len(source.val) == 360 and not train & val and train | val == set(range(1797))
    counts = torch.bincount(source.val.labels, minlength=10)
    assert counts.min() >= 35 and counts.max() <= 37
    assert source.val.name(0) == f"digits[{validation_indices()[0]}]"
    assert torch.equal(source.val.read(3), source.val.base.images[source.val.indices[3]])
