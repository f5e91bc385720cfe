import torch

from convatlas.engine.metrics import Tally, confusion, means, right, top


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
    scores, labels = torch.zeros(8, 8), torch.arange(8)
    best, among = top(scores, labels)
    assert not among.any() and not right(scores, labels).any() and (best != labels).all()       # of no use, and told so
    assert top(torch.tensor([[2.0, 1, 1, 0]] * 4), torch.arange(4), 2)[1].tolist() == [True, False, False, False]


def test_all_figures_rank_alike():
    dice = torch.Generator().manual_seed(0)
    scores, labels = torch.randint(0, 3, (500, 6), generator=dice).float(), torch.randint(0, 6, (500,), generator=dice)
    best, first = top(scores, labels, 1)
    assert torch.equal(first, best == labels) and torch.equal(right(scores, labels), first)
    assert torch.equal(scores.gather(1, best[:, None])[:, 0], scores.amax(dim=1))
    ranks = torch.stack([top(scores, labels, k)[1] for k in range(1, 7)])
    assert (ranks[1:] >= ranks[:-1]).all() and ranks[-1].all()
    some = torch.nn.functional.one_hot(labels, 6)
    assert torch.equal(top(scores, some, 2)[1], top(scores, labels, 2)[1]) and torch.equal(right(scores, some), first)


def test_not_a_number_is_no_hit():
    assert not top(torch.full((8, 8), torch.nan), torch.arange(8))[1].any()
    assert not top(torch.tensor([[0.0, torch.nan, 1.0]]), torch.tensor([1]), 1)[1].any()


def test_confusion():
    table = confusion(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 2, 0]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
