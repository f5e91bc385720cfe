"""Lines of `convatlas` that data names."""

import shlex

import typer.main

from convatlas.cli.app import app

COMMANDS = typer.main.get_command(app)


def words_of(line: str) -> list[str]:
    """The words behind the command, which must be one and have the options that the line gives it."""
    word, *words = shlex.split(line)
    assert word == "convatlas", line
    command = COMMANDS
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not getattr(command, "commands", {}), f"{line}: no command"
    options = {option for param in command.params for option in param.opts}
    assert {each for each in words if each.startswith("--")} <= options, line
    return words
