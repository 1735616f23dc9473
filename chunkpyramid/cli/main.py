"""The program ``chunkpyramid``: all commands, and errors in their words."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

import click

from chunkpyramid._version import __version__
from chunkpyramid.cli.labels import labels
from chunkpyramid.cli.pyramid import COMMANDS

__all__ = ["cli", "main", "with_switches"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chunkpyramid")
def cli() -> None:
    """Turn volumes larger than memory into multiscale OME-Zarr pyramids."""


for each in (*COMMANDS, labels):
    cli.add_command(each)


def main() -> None:
    """Run the command line: an error of ours is one line, and exit code 1."""
    from chunkpyramid.errors import ChunkPyramidError

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            cli(standalone_mode=True)
        except ChunkPyramidError as error:
            click.echo(f"chunkpyramid: {with_switches(str(error))}", err=True)
            sys.exit(1)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"chunkpyramid: warning: {with_switches(str(message))}", err=True)


# What is not said as an option and its value.
SWITCHES = {
    "pass resume=True": "leave out --no-resume",
    "leave shards=None": "leave out --shards",
    "overwrite=True": "--overwrite",
    "in_place=True": "--in-place",
    "preserve_missing_labels=True": "--preserve-missing-labels",
    "repair=True": "--repair",
    "sparse=True": "--sparse",
    "sparse=False": "--no-sparse",
    "target=None": "--in-place",
    "give target=": "give DST",
    "target=": "DST",
    "memory_limit": "--memory",
}


def with_switches(text: str) -> str:
    """Return a message in one line, with the options of the command line in place of the arguments of functions."""
    text = " ".join(text.split())
    for said, switch in SWITCHES.items():
        text = text.replace(said, switch)
    commands = [*cli.commands.values(), *labels.commands.values()]
    names = [option.name for command in commands for option in command.params if option.name is not None]
    pattern = rf"(?<![\w/'.-])({'|'.join(names)})=(?=([\w'\"(\[{{-])?)"
    return re.sub(pattern, lambda at: f"--{at[1].replace('_', '-')}{' ' if at[2] else ''}", text)
