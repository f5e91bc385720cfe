"""The shape of the house: who imports whom, and the habits of its files."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from rooms import PAGE, ROOMS, with_table

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "convatlas"

TORCH_FREE = ("version", "errors", "files", "memory", "known", "pixels", "run", "recipes", "runs.folder", "runs.index",
              "deploy", "deploy.reader", "deploy.native", "deploy.native.build", "deploy.native.engine",
              "deploy.native.stored", "deploy.native.work", "cli.app")
FILES = sorted(HOUSE.rglob("*.py"))
BRITISH = re.compile("colour|centre|grey|neighbour|labelled|behaviour|"
                     "(normal|optim|initial|quant|regular|recogn|synchron|serial)is(e|ation|ing)", re.IGNORECASE)
# keys of files that were written: a catalogue, tensors, configurations
AS_WRITTEN = {"licence", "centres", "pca_colour", "neighbours"}


def room(path: Path) -> str:
    return path.relative_to(HOUSE).with_suffix("").parts[0]


def module(path: Path) -> str:
    """A file's dotted name inside the house; of a folder's `__init__.py`, the folder's."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module(path): path for path in FILES}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """The syntax tree of a file, flat; parsed by the tests, not where they are collected."""
    return list(ast.walk(ast.parse(path.read_text())))


def every(check: Callable[[Path], None], paths: Iterable[Path] = FILES) -> None:
    """One test for all files: 450 tests of a millisecond each cost more than what they do. All that fail are told."""
    wrong = []
    for path in paths:
        try:
            check(path)
        except (AssertionError, ValueError) as error:
            wrong.append(f"{path.relative_to(HOUSE)}: {error}")
    assert not wrong, "\n".join(wrong)


@cache
def imported(path: Path) -> set[str]:
    """The modules of this house that a file imports, at the top, inside functions or for types only."""
    package, found = path.relative_to(HOUSE).parent.parts, set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.add(whole if whole in MODULES else ".".join(base) or "__init__")
        assert not (isinstance(node, ast.ImportFrom) and not node.level
                    and (node.module or "").split(".")[0] == "convatlas"), path
    return found


def test_a_room_imports_only_what_stands_before_it():
    def check(path: Path) -> None:
        before = list(ROOMS)[: list(ROOMS).index(room(path))]   # a ValueError: give the room a line in tests/rooms.py
        later = {name.partition(".")[0] for name in imported(path)} - {room(path), *before}
        assert not later, f"imports {sorted(later)}"
    every(check)


def test_no_file_imports_itself_by_way_of_others():
    # a CycleError names the circle
    TopologicalSorter({name: imported(path) for name, path in MODULES.items()}).prepare()


def test_the_rooms_are_those_that_are_there():
    assert set(ROOMS) == {room(path) for path in FILES}
    assert PAGE.read_text() == with_table(PAGE.read_text()), ("write docs/architecture.md anew: uv run python "
                                                              "tests/rooms.py")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def own_privates(path: Path) -> set[str]:
    """The private functions, classes, attributes and variables that a file defines."""
    return set(filter(is_private, [
        *(node.name for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.ClassDef)),
        *(node.attr for node in nodes(path) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)),
        *(node.id for node in nodes(path) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))]))


def test_private_names_stay_in_their_file():
    """What another file uses has no underscore; a class may use its base's."""
    homes = Counter(name for path in FILES for name in own_privates(path))

    def check(path: Path) -> None:
        elsewhere = homes.keys() - own_privates(path)
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert not [each.name for each in node.names if is_private(each.name)], f"line {node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr in elsewhere:
                assert (isinstance(node.value, ast.Name)
                        and node.value.id in ("self", "cls", "torch")), f"line {node.lineno}: {ast.unparse(node)}"
    every(check)


def test_own_imports_stand_at_the_top_or_say_why_not():
    def check(path: Path) -> None:
        lines = path.read_text().splitlines()
        inside = {node for function in nodes(path) if isinstance(function, ast.FunctionDef)
                  for node in ast.walk(function) if isinstance(node, ast.ImportFrom) and node.level}
        bare = [node.lineno for node in inside if "  # " not in lines[node.lineno - 1]]
        assert not bare, f"lines {bare}"
    every(check, (path for path in FILES if room(path) != "cli"))       # whose commands start without torch


def test_what_answers_without_torch_never_imports_it():
    names = [f"convatlas.{name}" for name in TORCH_FREE]
    out = run("import importlib, sys\n"
              f"for name in {names}:\n"
              "    importlib.import_module(name)\n"
              "    print(name, 'torch' in sys.modules)")
    assert [line for line in out.splitlines() if line.endswith("True")] == [] and len(out.splitlines()) == len(names)


def test_habits():
    every(keeps_the_habits)


def keeps_the_habits(path: Path) -> None:
    text, here = path.read_text(), room(path)
    assert ast.get_docstring(nodes(path)[0]), "a file says what it is for"
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("hasattr", "eval", "exec"), f"line {node.lineno}"
        if isinstance(node, ast.FunctionDef) and node.args.kwarg:
            passes_on = {("zoo", "create_model"), ("zoo", "info"), ("integrations", "build")}
            assert (here, node.name) in passes_on, f"line {node.lineno}: **{node.args.kwarg.arg}"
        if isinstance(node, ast.Import):
            assert "pickle" not in {name.name for name in node.names}, f"line {node.lineno}"
    if "torch.load(" in text:
        assert (path.name == "files.py" and here == "weights"
                and text.count("torch.load(") == text.count("weights_only=True") == 1)


@pytest.mark.parametrize("path", sorted((HOUSE / "arch").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_an_architecture_file_can_be_read_whole(path):
    tree = ast.parse(path.read_text())
    wrapped = {line for node in ast.walk(tree) if isinstance(node, ast.Call | ast.ImportFrom)
               for line in range(node.lineno + 1, (node.end_lineno or 0) + 1)}
    lines = set(range(1, len(path.read_text().splitlines()) + 1)) - wrapped     # rows of tables and code
    assert len(lines) <= 160, f"{len(lines)} lines"
    imports = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    allowed = {"errors", "net.model", "net.registry", "net.resnets", "net.segmenter", "parts"}
    assert set(imports) <= allowed, "an architecture imports these, never a sibling"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_imports_nothing_heavy():
    out = run("import convatlas, sys\nprint([m for m in ('torch', 'torchvision', 'matplotlib', 'tensorboard', 'numpy', "
              "'PIL') if m in sys.modules])")
    assert out.strip() == "[]"


def test_building_a_network_needs_no_torchvision_and_no_plotting():
    out = run("import convatlas, sys; convatlas.create_model('lenet5'); convatlas.list_models()\n"
              "heavy = ('torchvision', 'matplotlib', 'tensorboard', 'huggingface_hub', 'torch._dynamo')\n"
              "print([m for m in heavy if m in sys.modules])\n"
              "convatlas.info('lenet5')      # torch's own meta kernels import torch._dynamo\n"
              "print([m for m in heavy[:-1] if m in sys.modules])")
    assert out.split() == ["[]", "[]"]


def test_public_names_are_all_there():
    import convatlas

    for name in convatlas.__all__:
        assert getattr(convatlas, name) is not None
    with pytest.raises(AttributeError):
        convatlas.no_such_name      # noqa: B018


def test_package_data_is_complete():
    assert (HOUSE / "py.typed").exists()


@pytest.mark.parametrize(("old", "new"), [("native", "deploy.native"), ("deploy.plan", "deploy.native.plan"),
                                          ("ray", "integrations.ray")])
def test_documented_modules_are_found_under_their_old_names(old, new):
    out = run(f"import convatlas.{old}, sys; import convatlas.{new} as new; print(convatlas.{old} is new, "
              f"new.__spec__.name, sys.modules['convatlas.{old}'] is new)")
    assert out.split() == ["True", f"convatlas.{new}", "True"]


def test_docstrings_begin_with_the_thing_and_names_are_spelt_as_the_field_does():
    """A docstring begins with the field's noun or with a verb; identifiers are American (prose is British)."""
    def check(path: Path) -> None:
        for node in nodes(path):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                first = (ast.get_docstring(node) or "").partition(" ")[0].rstrip(":,")
                assert first not in ("What", "Whether", "How", "Which", "Where", "When", "Why", "Who"), (
                    f"line {1 if isinstance(node, ast.Module) else node.lineno}: {first}")
            names = ([node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else [node.arg]
                     if isinstance(node, ast.arg) else [node.id] if isinstance(node, ast.Name) else [node.attr]
                     if isinstance(node, ast.Attribute) else [])
            assert not [name for name in names if BRITISH.search(name) and name not in AS_WRITTEN], (
                f"line {node.lineno}: {names}")
    every(check)
