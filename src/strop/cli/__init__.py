"""The command line: one file per command. Exit codes: 0 something kept, 3 nothing paid, 1 failed, 2 usage, 130 interrupted."""

from __future__ import annotations

import importlib
import io
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from strop.errors import StropError, UsageError, did_you_mean

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class Commands(click.Group):
    """Finds each command in the file of its name, so that ``strop list`` does not pay for what ``strop optimize`` imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, sorted."""
        return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one command."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"strop.cli.{name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is no such one."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}.{did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. A workload's own ``sys.exit(0)`` is an error: its code must not pass for one of ours."""
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            raise StropError(f"the workload, or a library it uses, ended the process with {error.code!r}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="strop")
def root() -> None:
    """Make PyTorch models faster, smaller and safer to run, and prove it.

    The main job: strop optimize WORKLOAD --max-drop 1% --budget 4m --out runs/mine
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without × or α costs those signs, not the result
        sys.stdout.reconfigure(errors="replace")
    try:
        return int(root.main(args=arguments, prog_name="strop", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("strop: interrupted", err=True)
        return INTERRUPTED
    except StropError as error:
        click.echo(f"strop: {error}", err=True)
        return USAGE if isinstance(error, UsageError) else FAILED
    except OSError as error:  # a full disk or a folder that cannot be read, where no better words were found
        click.echo(f"strop: {error}", err=True)
        return FAILED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
