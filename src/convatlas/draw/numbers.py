"""Numbers as people read them: 60.97M, 60 000, 98.33 %, 1:15."""

import math


def short(number: float) -> str:
    """60000 as '60.0k', 60965224 as '60.97M'."""
    for unit, sign, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e3, "k", 1)):
        if number >= unit:
            return f"{number / unit:.{digits}f}{sign}"
    return f"{number:g}"


def exact(number: float) -> str:
    """60000 as '60 000'."""
    return f"{number:,}".replace(",", " ")


def percent(share: float) -> str:
    """0.9833 as '98.33 %'; a dash where there is nothing to share."""
    return "–" if math.isnan(share) else f"{share * 100:.2f} %"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 75 as '1:15'."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
