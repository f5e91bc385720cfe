"""Diagrams of all networks into src/convatlas/atlas/diagrams.zip: `uv run python benchmarks/diagrams.py`.

Two minutes of one core. A family whose diagrams are those of today's sources is computed again only with `--all`.
"""

import argparse

from convatlas import known, zoo
from convatlas.atlas import diagrams

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="compute every family's again")
    wanted = parser.parse_args()
    found, families = {}, {}
    for line in known.listed() or zoo.listed():
        account = known.account(line.name) or zoo.account(zoo.info(line.name))
        found[line.name] = (diagrams.computed if wanted.all else diagrams.diagram)(account)
        families[line.family] = diagrams.digest(line.family)
    diagrams.write(found, families)
    print(f"{len(found)} diagrams, {diagrams.STORED.stat().st_size / 1000:.0f} kB")
