"""Numbers of channels, multiplied."""


def times(channels: int, factor: float, multiple: int = 1) -> int:
    """The multiple of `multiple` nearest to `channels` · `factor`, at least one of them."""
    return multiple * max(1, round(channels * factor / multiple))
