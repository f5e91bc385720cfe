"""What README and docs print: every command and option is there, every block compiles, and a dozen of each run.

The rest runs in test_printed_run.py (`-m slow`).
"""

import ast
import builtins
import importlib
import re
import shlex
import tomllib
from importlib.util import find_spec

import pytest
import typer
import yaml
from printed import HOUSE, PAGES, REASONS, blocks

from convatlas.cli.app import app

BLOCKS = list(blocks())
SHELL = [(block, command) for block in BLOCKS if block.language == "sh" for command in block.commands()]
PYTHON = [block for block in BLOCKS if block.language == "python"]
GIVEN = {"model", "images", "run"}      # what a page takes for granted: a network, a batch for it, a Run
ROOT = typer.main.get_command(app)


def reached(words):
    """The command that the words name, its context, and the words that are left for it."""
    command, context, name = ROOT, None, "convatlas"
    while hasattr(command, "resolve_command") and words and not words[0].startswith("-"):
        context = type(command).context_class(command, parent=context, info_name=name)
        name, command, words = command.resolve_command(context, words)
    return command, context, words


def accepts(words):
    """The command line takes the words: commands, options, their values as far as no file is asked for."""
    command, context, words = reached(words)
    if words or not hasattr(command, "resolve_command"):
        command.make_context("", list(words), parent=context)


def ours(command):
    """The words behind `convatlas`, however it is started; None of another program's command."""
    words = shlex.split(command)
    return words[words.index("convatlas") + 1:] if "convatlas" in words else None


def test_pages_are_found_and_no_block_is_missed():
    assert len(PAGES) > 20 and len(SHELL) > 100
    for page in PAGES:
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
        assert len(fences) == 2 * sum(block.page == page for block in BLOCKS), page
    assert {block.language for block in BLOCKS} <= {"sh", "python", "js", "yaml", "text", ""}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_mark_says_what_is_not_run_and_why(block):
    for part, reason in block.marks.items():
        assert REASONS.fullmatch(reason), f"{block}: {reason}"
        assert part in "\n".join(block.commands()) if block.language == "sh" else not part, f"{block}: {part}"


def test_no_mark_stands_where_no_block_follows():
    marks = sum(page.read_text(encoding="utf-8").count("\n<!-- not run") for page in PAGES)
    assert marks == sum(len(block.marks) for block in BLOCKS)


@pytest.mark.parametrize(("block", "command"), SHELL, ids=[f"{block}: {command}" for block, command in SHELL])
def test_a_printed_command_is_one(block, command):
    words = ours(command)
    if words is not None:
        accepts(words)
    else:
        assert block.reason(command), f"{block}: {command} is neither ours nor marked"
        for script in re.findall(r"\S+\.py\b", command):
            assert (HOUSE / script).is_file()


def test_commands_in_the_text_are_ones():
    """`convatlas …` in the middle of a sentence: the command is there, and so is each of its options."""
    count = 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for found in re.findall(r"`((?:uv run )?convatlas [^`]+)`", text):
            words = [word for word in ours(" ".join(found.split())) if word != "COMMAND"]
            try:
                command, _, rest = reached(words)
            except Exception as error:
                raise AssertionError(f"{page}: {found}: {error}") from None
            known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            options = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert options <= {*known, "--help"}, f"{page}: {found}"
            count += 1
    assert count > 100


def test_options_in_the_text_are_some_commands():
    def options(command):
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
        for each in getattr(command, "commands", {}).values():
            yield from options(each)

    known, others = {*options(ROOT), "--help"}, {"--torch-backend", "--max-restarts", "--nproc-per-node", "--strict"}
    for script in (HOUSE / "benchmarks").glob("*.py"):
        others |= set(re.findall(r"--[a-z][\w-]*", script.read_text(encoding="utf-8")))
    for page in PAGES:
        for found in re.findall(r"`(--[a-z][\w-]*)[^`]*`", page.read_text(encoding="utf-8")):
            assert found in known | others, f"{page}: {found}"


def test_extras_that_are_named_are_there():
    extras = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for page in PAGES:
        for found in re.findall(r"""\.\[([\w,]+)\]["']""", page.read_text(encoding="utf-8")):
            assert set(found.split(",")) <= set(extras), f"{page}: {found}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_compiles_and_takes_for_granted_what_it_may(block):
    tree = ast.parse(block.text)
    bound, read = set(dir(builtins)) | GIVEN, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read.append(node.id) if isinstance(node.ctx, ast.Load) else bound.add(node.id))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(each.asname or each.name).split(".")[0] for each in node.names}
    assert set(read) <= bound


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_its_imports_are_there(block):
    for node in ast.walk(ast.parse(block.text)):
        names = ([each.name for each in node.names] if isinstance(node, ast.Import) else
                 [node.module] if isinstance(node, ast.ImportFrom) else [])
        for name in names:
            top = name.split(".")[0]
            assert find_spec(top) or block.reason() == f"needs {top.capitalize()} installed", f"{block}: {name}"
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(name)
                for each in node.names:     # a name of the module, or a module below it, imported or not
                    found = getattr(module, each.name, None) is not None or find_spec(f"{name}.{each.name}")
                    assert found, f"{block}: {name}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_yaml_can_be_read(block):
    assert all(isinstance(each, dict) for each in yaml.safe_load_all(block.text))
