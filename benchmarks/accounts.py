"""Write src/convatlas/known.zip: every network's account, which `convatlas list`, `info` and `compare` show without torch.

uv run python benchmarks/accounts.py          # families whose sources have changed; the others' stay
uv run python benchmarks/accounts.py --all

It takes about a minute for all.
"""

import sys
from typing import Any

from convatlas import known, zoo


def main() -> None:
    """Compute what is stale, and write all."""
    fresh = known.families() if "--all" in sys.argv[1:] else set(known.stale())
    accounts: dict[str, list[tuple[known.Listed, dict[str, Any]]]] = {}
    count = 0
    for line in zoo.listed():
        stored = known.account(line.name)
        told = stored if stored is not None and line.family not in fresh else zoo.account(zoo.info(line.name))
        accounts.setdefault(line.family, []).append((line, told))
        count += line.family in fresh
    known.write(accounts)
    print(f"{count} of {len(zoo.listed())} accounts computed anew; {known.PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
