"""The shape of the house: who imports whom, and the habits of its files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "convatlas"

#   a room may import itself and the rooms named; a room that is missing here has no rule yet, and fails
LEAVES = {"errors", "run"}
MAY_IMPORT = {
    "__init__": {"errors", "recipes", "run", "api", "checkpoints", "dense", "deploy", "publishing", "zoo"},
    "__main__": {"cli"},
    "errors": set(),
    "cache": set(),
    "pixels": {"errors"},
    "native": {"cache", "errors"},
    "light": {"errors", "native", "pixels"},
    "run": {"errors"},
    "folder": {"__init__", "errors", "run"},
    "parts": set(),
    "registry": {"errors", "model"},        # model for its type only
    "model": LEAVES | {"parts", "registry"},
    "receptive": {"parts"},
    "count": {"model", "parts", "receptive"},
    "segmenter": {"errors", "model", "registry"},
    "arch": {"errors", "model", "parts", "registry", "segmenter"},
    "facts": LEAVES | {"count", "deploy", "model", "parts", "registry", "weights"},
    "weights": LEAVES | {"__init__", "folder"},
    "data": LEAVES | {"cache", "pixels"},
    "engine": LEAVES | {"__init__", "count", "data", "folder", "model", "parts", "segmenter"},
    "recipes": LEAVES,
    "inspect": LEAVES | {"__init__", "count", "data", "engine", "folder", "model", "parts", "receptive", "registry", "segment",
                         "segmenter", "zoo"},
    "dense": LEAVES | {"model", "parts"},
    "deploy": LEAVES | {"cache", "checkpoints", "count", "data", "engine", "evaluation", "folder", "light", "model", "native", "parts",
                        "recipes", "registry", "weights", "zoo"},
    "checkpoints": LEAVES | {"segmenter", "arch", "deploy", "light", "model", "recipes", "registry", "weights"},
    "zoo": LEAVES | {"arch", "checkpoints", "count", "data", "facts", "model", "recipes", "registry", "weights"},
    "api": LEAVES | {"checkpoints", "recipes", "count", "data", "deploy", "engine", "folder", "inspect", "light", "model", "registry",
                     "evaluation", "segment", "segmenter", "weights", "zoo"},
    "publishing": LEAVES | {"folder", "registry", "weights", "zoo"},
    "timm": LEAVES | {"zoo"},
    "runs": LEAVES | {"__init__", "folder", "recipes"},
    "ray": LEAVES | {"api"},
    "segment": LEAVES | {"checkpoints", "count", "data", "deploy", "engine", "inspect", "model", "parts", "registry", "segmenter",
                         "zoo"},
    "evaluation": LEAVES | {"checkpoints", "data", "dense", "engine", "inspect", "model", "parts", "registry", "zoo"},
    "cli": LEAVES | {"__init__", "api", "arch", "checkpoints", "count", "data", "deploy", "engine", "evaluation", "facts", "folder",
                     "inspect", "light", "model", "pixels", "publishing", "receptive", "recipes", "registry", "runs", "segment",
                     "segmenter", "weights", "zoo"},
}
FILES = sorted(HOUSE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The rooms of this house that a file imports, at the top or inside functions."""
    package = ["convatlas", *path.relative_to(HOUSE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            names = [base[1]] if len(base) > 1 else [alias.name for alias in node.names]
            found |= {name if (HOUSE / name).is_dir() or (HOUSE / f"{name}.py").is_file() else "__init__" for name in names}
        assert not (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "convatlas"), path
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_point_downwards(path):
    here = room(path)
    assert here in MAY_IMPORT, f"give {here} a line in MAY_IMPORT"
    assert imported(path) - {here} <= MAY_IMPORT[here]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_habits(path):
    text, here = path.read_text(), room(path)
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("hasattr", "eval", "exec"), f"line {node.lineno}"
        if isinstance(node, ast.FunctionDef) and node.args.kwarg:
            passes_on = {("zoo", "create_model"), ("zoo", "info"), ("timm", "build")}
            assert (here, node.name) in passes_on, f"line {node.lineno}: **{node.args.kwarg.arg}"
    assert "pickle" not in {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    if "torch.load(" in text:
        assert path.name == "files.py" and here == "weights" and text.count("torch.load(") == text.count("weights_only=True") == 1


@pytest.mark.parametrize("path", sorted((HOUSE / "arch").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_an_architecture_file_can_be_read_whole(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 160, f"{len(lines)} lines"
    imports = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level]
    assert set(imports) <= {"errors", "model", "parts", "registry", "segmenter"}, "an architecture imports these, never a sibling"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_imports_nothing_heavy():
    out = run("import convatlas, sys\n"
              "print([m for m in ('torch', 'torchvision', 'matplotlib', 'tensorboard', 'numpy', 'PIL') if m in sys.modules])")
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
