import torch

from convatlas.engine.metrics import Tally, confusion, means, top


def test_tally_gives_the_means_over_all_batches():
    tally = Tally(torch.device("cpu"))
    tally.add(torch.tensor([1.0, 2.0, 3.0]), torch.eye(3), torch.tensor([0, 1, 0]))
    tally.add(torch.tensor([6.0]), torch.eye(3)[:1], torch.tensor([2]))
    assert means(tally.sums) == (3.0, 0.5)
    assert tally.sums.dtype == torch.float64


def test_top_k():
    scores = torch.tensor([[6.0, 5, 4, 3, 2, 1]]).repeat(6, 1)
    best, among = top(scores, torch.arange(6))
    assert best.tolist() == [0] * 6
    assert among.tolist() == [True] * 5 + [False]


def test_top_k_of_fewer_classes_and_of_ties():
    assert top(torch.zeros(2, 3), torch.tensor([0, 2]))[1].all()
    best, among = top(torch.zeros(8, 8), torch.arange(8))
    assert among[best == torch.arange(8)].all()      # top-1 never exceeds top-5
    assert among.sum() == 5


def test_not_a_number_is_no_hit_for_every_class():
    assert top(torch.full((8, 8), torch.nan), torch.arange(8))[1].sum() == 5


def test_confusion():
    table = confusion(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 2, 0]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
