"""Zeros put in and convolved, against torch's transposed convolution and sums written out."""

import json

import pytest
import torch
from drawn import assert_readable, words

from convatlas.cli.inspections.upsampling import upsampling as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.upsampling import draw, upsampling


def written(image, kernel, stride):
    """Every pixel stamps the kernel, times its value, into the result."""
    k, (high, wide) = len(kernel), image.shape
    result = torch.zeros(stride * (high - 1) + k, stride * (wide - 1) + k)
    for i in range(high):
        for j in range(wide):
            result[stride * i : stride * i + k, stride * j : stride * j + k] += image[i, j] * kernel
    return result


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (2, 2), (5, 3), (3, 1), (1, 2)])
def test_all_ways_give_the_same(kernel, stride):
    image, weights = torch.randint(-3, 4, (3, 4)).float(), torch.randint(-3, 4, (kernel, kernel)).float()
    found = upsampling(image, weights, stride)
    assert found.difference == 0 and torch.equal(found.convolved, written(image, weights, stride))
    assert torch.equal(found.overlaps, written(torch.ones_like(image), torch.ones(kernel, kernel), stride))
    assert (found.spread != 0).sum() == (image != 0).sum()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 2), (6, 3), (2, 2), (4, 3)])
def test_the_checkerboard_comes_from_a_stride_that_does_not_divide_the_kernel(kernel, stride):
    """Odena et al. 2016."""
    found = upsampling(torch.ones(8, 8), kernel, stride)
    inner = found.overlaps[kernel:-kernel, kernel:-kernel]
    assert found.checkerboard == bool(inner.min() != inner.max()) == bool(kernel % stride)


def test_bilinear_is_a_transposed_convolution_with_a_tent():
    """What FCN's layers begin as (Long et al. 2015, section 3.3), away from the border."""
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    found = upsampling(torch.rand(6, 6), tent[:, None] * tent, 2)
    assert torch.allclose(found.convolved[3:-3, 3:-3], found.bilinear[2:-2, 2:-2], atol=1e-6)


def test_what_cannot_be_done_is_told():
    with pytest.raises(ConvatlasError, match="stride 0"):
        upsampling(stride=0)
    with pytest.raises(ConvatlasError, match="two sides"):
        upsampling(torch.ones(2, 2, 2))
    with pytest.raises(ConvatlasError, match="too many to draw"):
        draw(upsampling(torch.ones(9, 9)))


@pytest.mark.parametrize(("kernel", "stride", "said"), [(3, 2, "2 does not divide 3"), (4, 2, "2 divides 4"),
                                                        (1, 1, "1 divides 1"), (2, 3, "3 does not divide 2")])
def test_pictures_can_be_read(kernel, stride, said):
    figure = draw(upsampling(kernel=kernel, stride=stride))
    assert_readable(figure)
    assert any(word.startswith(said) for word in words(figure))


def test_the_command(tmp_path, capsys):
    command(out=tmp_path / "up.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["checkerboard"] is True and told["overlaps"][2][2] == 4
            and (tmp_path / "up.png").stat().st_size > 10_000)
