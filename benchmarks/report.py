"""Where benchmarks keep what they measured: results/<name>.json, with the machine and the versions named."""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, and the versions that matter."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(), "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(), **{name: version(name) for name in ("convatlas", "torch", "torchvision")},
    }


def save(name: str, results: Any) -> Path:
    """Write results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=2, ensure_ascii=False) + "\n",
                    encoding="utf-8")
    return path


def earlier(name: str) -> Any:
    """What results/<name>.json holds, if it was measured on this machine with these versions; else nothing."""
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kept["results"] if kept.get("machine") == machine() else {}


def put(page: Path, tables: dict[str, str]) -> None:
    """Write each table between `<!-- its name -->` and `<!-- end -->` in the page."""
    text = page.read_text(encoding="utf-8")
    for name, made in tables.items():
        place = rf"(<!-- {name} -->\n)(?:.*?\n)??(<!-- end -->)"      # of an empty one not as far as the next one's end
        text, count = re.subn(place, lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text, flags=re.S)
        assert count == 1, f"{page.name} has no place for {name}"
    page.write_text(text, encoding="utf-8")
