"""Accounts of the networks as data: what `convatlas list`, `info` and `compare` tell, without torch and at once.

`known.zip` has one JSON document per variant, as `zoo.account` computes it, and an index;
`benchmarks/accounts.py` writes it. A family's accounts stand beside a digest of the sources that they follow from.
Where these have changed, and of a network that is not there, nothing is known here, and the caller computes: an account
is right or absent.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ConvatlasError, nearest

HOUSE = Path(__file__).parent
PATH = HOUSE / "known.zip"
INDEX = "index.json"
COMMON = ("zoo.py", "net", "parts", "facts")       # files and folders that every account follows from
WRITTEN = (1980, 1, 1, 0, 0, 0)     # the time of every member, so that the same accounts are the same bytes


@dataclass(frozen=True)
class Listed:
    """One variant's line in a list."""

    name: str
    aliases: Sequence[str]
    family: str             # the architecture file it comes from
    params: int
    macs: int
    in_chans: int
    image_size: int | Sequence[int]
    fidelity: str
    recipe: str
    idea: str


def account(name: str) -> dict[str, Any] | None:
    """The stored account of the variant of that name or alias; None unless it is there and its sources are those of
    today.
    """
    try:
        index = _index()
        family, found = next((family, each["name"]) for family, known in index.items() for each in known["variants"]
                             if name == each["name"] or name in each["aliases"])
        if index[family]["digest"] != digest(family):
            return None
        told = document(PATH, f"{found}.json")
    except (OSError, StopIteration):        # none of that name; no such file, as where a package lies in an archive
        return None
    return {**told, "layers": _rows(told["layers"])}


def listed() -> list[Listed] | None:
    """Every variant; None unless the sources of all are those of today, and there are no others."""
    try:
        index = _index()
        if stale() or set(index) != families():
            return None
    except OSError:
        return None
    return [Listed(**each) for known in index.values() for each in known["variants"]]


def stale() -> list[str]:
    """Families whose sources have changed since their accounts were written, or that have none."""
    index = _index() if PATH.exists() else {}
    return sorted(family for family in families() if family not in index or index[family]["digest"] != digest(family))


def families() -> set[str]:
    """The architecture files that are there."""
    return {path.stem for path in (HOUSE / "arch").glob("*.py") if path.stem != "__init__"}


def digest(family: str) -> str:
    """SHA-256 of the sources that the accounts of a family's variants follow from."""
    whole = _common().copy()
    for path in (HOUSE / "arch" / f"{family}.py", HOUSE / "facts" / "published" / f"{family}.jsonl"):
        whole.update(source(path) if path.exists() else b"")
    return whole.hexdigest()


def write(accounts: Mapping[str, Sequence[tuple[Listed, Mapping[str, Any]]]]) -> None:
    """Write `known.zip`: of each family the variants' lines and accounts."""
    index = {family: {"digest": digest(family), "variants": [asdict(each) for each, _ in known]}
             for family, known in accounts.items()}
    put_documents(PATH, {INDEX: index, **{f"{each.name}.json": {**told, "layers": _columns(told["layers"])}
                                          for known in accounts.values() for each, told in known}})
    _index.cache_clear()


def document(path: Path, name: str) -> dict[str, Any]:
    """One JSON document of an archive. Raises OSError where there is none, or the archive is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            tree: dict[str, Any] = json.loads(file.read(name))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise OSError(f"{path} is damaged: {error}") from error
    return tree


def put_documents(path: Path, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write an archive of JSON documents: of the same documents the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, tree in documents.items():
            member = zipfile.ZipInfo(name, WRITTEN)
            member.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(member, json.dumps(tree, ensure_ascii=False, separators=(",", ":")), compresslevel=9)


def chosen(variants: Iterable[Any], pattern: str | Sequence[str] = "*", *, family: str | None = None,
           max_params: float | None = None, fidelity: str | None = None) -> list[Any]:
    """Those of the variants (anything with a `Listed`'s fields) that `zoo.list_models` would name, in its order."""
    variants = list(variants)
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    kinds = sorted({variant.family for variant in variants})
    if family is not None and family not in kinds:
        raise ConvatlasError("there is no family "
                             f"{family!r}{nearest(family, kinds) or '; there are ' + ', '.join(kinds)}")
    if fidelity not in (None, "paper", "authors", "field"):
        raise ConvatlasError(f"fidelity {fidelity!r} is refused: it is 'paper', 'authors' or 'field'")
    return sorted((v for v in variants
                   if any(fnmatchcase(name, p) for name in (v.name, *v.aliases) for p in patterns)
                   and family in (None, v.family) and fidelity in (None, v.fidelity)
                   and (max_params is None or v.params <= max_params)), key=lambda v: v.name)


@cache
def _index() -> dict[str, Any]:
    return document(PATH, INDEX)


@cache
def _common() -> "hashlib._Hash":
    whole = hashlib.sha256()
    for name in COMMON:
        path = HOUSE / name
        for each in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(each.relative_to(HOUSE).as_posix().encode() + source(each))
    return whole


def source(path: Path) -> bytes:
    """A source file, with the same ends of lines on every system."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of the same keys as columns, which pack into a third."""
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
