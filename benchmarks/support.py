"""Every law on every network, and docs/support.md from the results.

Interrupt it when you like: it goes on where it stopped.

uv run python benchmarks/support.py                 # everything that is not known yet (hours on two cores)
uv run python benchmarks/support.py 'resnet*' 'vgg11'
uv run python benchmarks/support.py --page-only
"""

import json
import platform
import subprocess
import sys
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "support.json"
PAGE = ROOT / "docs" / "support.md"
MARKS = {"ok": "✓", "skipped": "–"}
SECONDS = 900       # for all laws of one network


def main(words: list[str]) -> None:
    """Fill in what is missing, one process per network, and write the page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from convatlas import list_models
    from convatlas.net import registry
    from laws import LAWS

    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    patterns = [word for word in words if not word.startswith("--")] or ["*"]
    names = sorted((n for n in list_models() if any(fnmatchcase(n, p) for p in patterns)),
                   key=lambda n: registry.VARIANTS[n].params)
    if "--page-only" not in words:
        for i, name in enumerate(names, start=1):
            if known.get(name, {}).keys() >= LAWS.keys():
                continue
            print(f"{i}/{len(names)} {name}", flush=True)
            known[name] = known.get(name, {}) | _run(name, [law for law in LAWS if law not in known.get(name, {})])
            RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(_page(known, list(LAWS), {law: (LAWS[law].__doc__ or "").strip() for law in LAWS}, list_models()),
                    encoding="utf-8")


def _run(name: str, laws: list[str]) -> dict[str, str]:
    """Law → 'ok', 'skipped' or the error, each written by the process as it goes."""
    code = f"""
import json, sys
sys.path.insert(0, {str(ROOT / 'tests')!r})
import pytest, torch
from laws import LAWS
for law in {laws!r}:
    try:
        LAWS[law]({name!r})
        result = "ok"
    except pytest.skip.Exception:
        result = "skipped"
    except Exception as error:
        result = f"{{type(error).__name__}}: {{' '.join(str(error).split())[:200]}}"
    print("LAW", json.dumps([law, result]), flush=True)
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
        text, rest = done.stdout, "the process ended"
    except subprocess.TimeoutExpired as late:
        text, rest = (late.stdout or b"").decode(), f"not finished in {SECONDS} s"
    found = dict(json.loads(line[4:]) for line in text.splitlines() if line.startswith("LAW "))
    return {law: found.get(law, rest) for law in laws}


def _page(known: dict[str, dict[str, str]], laws: list[str], meanings: dict[str, str], names: list[str]) -> str:
    import torch

    done = [name for name in names if name in known]
    lines = ["# What every network was seen to do", "",
             f"Written by `benchmarks/support.py` on {date.today().isoformat()}, {platform.machine()}, Python "
             f"{platform.python_version()}, torch {torch.__version__}; small random images, float32 on the CPU unless "
             f"the law says otherwise. {len(done)} of {len(names)} networks have been run.", ""]
    lines += [f"- **{law}**: {meanings[law]}" for law in laws]
    lines += ["", "| network | " + " | ".join(laws) + " |", "|---" * (len(laws) + 1) + "|"]
    failures = []
    for name in done:
        results = [known[name].get(law, "") for law in laws]
        lines.append(f"| `{name}` | " + " | ".join(MARKS.get(r, "✗" if r else "") for r in results) + " |")
        failures += [f"- `{name}`, {law}: {r}" for law, r in zip(laws, results, strict=True) if r and r not in MARKS]
    return "\n".join([*lines, *(["", "## What fails", "", *failures] if failures else [])]) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
