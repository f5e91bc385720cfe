"""Random numbers for whole batches that depend only on each picture's own seed and on what they are drawn for.

SplitMix64 (Steele, Lea and Flood, 2014) used as a counter-based generator: number k of a stream is a hash of the
stream's start plus k steps. Torch's generators make one stream each, one number after the other; here a batch of a
thousand pictures has a thousand streams, and picture 17 gets the same numbers alone, in any batch, in any worker.
"""

import hashlib
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)       # SplitMix64's constants
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = 2**64 - 1


def image_seeds(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """One seed, 0 to 2⁶³−1, for each picture of an epoch: int64 (n,) -> int64 (n,)."""
    key = _mixed(_mixed(_words([seed & _WORD])) + _words([epoch & _WORD]))
    return _seeds(_mixed(_mixed(key) + _unsigned(indices) * _STEP))


def derived(seeds: Tensor, salt: str) -> Tensor:
    """Another seed of each picture, for a generator that is not ours: int64 (n,) -> int64 (n,)."""
    return _seeds(_stream(seeds, 1, salt)[:, 0])


def uniforms(seeds: Tensor, count: int, salt: str) -> Tensor:
    """`count` numbers in [0, 1) per seed, multiples of 2⁻²⁴: int64 (n,) -> float32 (n, count).

    `salt` names what they are for: one augmentation draws the same whether or not another one is on.
    """
    return torch.from_numpy(_uniforms(seeds, count, salt).astype(np.float32))


def normals(seeds: Tensor, count: int, salt: str) -> Tensor:
    """`count` numbers from N(0, 1) per seed, by Box and Muller: int64 (n,) -> float32 (n, count)."""
    pairs = _uniforms(seeds, 2 * count, salt)
    radius = np.sqrt(-2 * np.log(1 - pairs[:, 0::2]))      # 1 − u is never 0
    return torch.from_numpy((radius * np.cos(2 * np.pi * pairs[:, 1::2])).astype(np.float32))


def between(uniform: Tensor, low: float, high: float) -> Tensor:
    """[0, 1) stretched to [low, high): float64."""
    return low + uniform.double() * (high - low)


def below(uniform: Tensor, count: int | Tensor) -> Tensor:
    """One of the integers 0 … count − 1, from [0, 1): int64.

    In float64, for float32 would round up to `count` at times.
    """
    return (uniform.double() * count).long()


def _uniforms(seeds: Tensor, count: int, salt: str) -> NDArray[np.float64]:
    return (_stream(seeds, count, salt) >> np.uint64(40)).astype(np.float64) / 2**24      # what float32 holds exactly


def _stream(seeds: Tensor, count: int, salt: str) -> Words:
    """The first `count` words of each seed's stream: (n, count)."""
    starts = _mixed(_unsigned(seeds) ^ _salt(salt))
    return _mixed(starts[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _STEP)


def _mixed(words: Words) -> Words:
    """SplitMix64's output function: each bit of a word decides about every bit of the result."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


@cache
def _salt(name: str) -> Words:
    return _words([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")])


def _words(numbers: list[int]) -> Words:
    return np.array(numbers, dtype=np.uint64)       # arrays, not scalars, wrap around without a warning


def _unsigned(numbers: Tensor) -> Words:
    return numbers.numpy().astype(np.uint64)


def _seeds(words: Words) -> Tensor:
    return torch.from_numpy((words >> np.uint64(1)).astype(np.int64))
