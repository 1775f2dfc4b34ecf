"""The command line as a whole: commands are files, errors are words and exit codes, help costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from strop.cli import main, root
from strop.errors import LedgerError, MeasureError, RecipeError, StropError, UsageError, WorkloadError

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

COMMANDS = [
    "apply",
    "compare",
    "dashboard",
    "diagnose",
    "explain",
    "list",
    "load",
    "optimize",
    "rerun",
    "run",
    "selftest",
    "serve",
    "train",
    "verify",
]
Cli = Callable[..., "Answer"]


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command end with an error."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(type(root), "get_command", lambda *_: click.Command("list", callback=fail))


def test_every_command_is_found_by_the_name_of_its_file() -> None:
    context = click.Context(root)
    assert root.list_commands(context) == COMMANDS
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        assert command.help


@pytest.mark.parametrize("arguments", [[name, "--help"] for name in COMMANDS] + [["--help"], ["-h"], ["--version"]], ids=" ".join)
def test_help_needs_neither_torch_nor_an_engine(arguments: list[str]) -> None:
    code = (
        "import sys; from strop.cli import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'numpy', 'openvino', 'onnxruntime', 'scipy'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("strop" if arguments == ["--version"] else "Usage: strop") in done.stdout


def test_python_runs_the_package_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "strop", "optimise"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean 'optimize'?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimise", "x.py"], "there is no command 'optimise'. Did you mean 'optimize'?"),
        (["verfy", "x"], "there is no command 'verfy'. Did you mean 'verify'?"),
        (["zzz"], "Known: apply, compare"),
        (["optimize"], "Missing argument 'WORKLOAD'"),
        (["optimize", "x.py", "--budjet", "4m"], "--budget"),
        (["optimize", "x.py", "--budget"], "requires an argument"),
        (["optimize", "x.py", "--seed", "one"], "'one' is not a valid integer"),
        (["apply", "a.yaml", "b.py"], "Missing option '--out'"),
        (["verify", "a", "b"], "unexpected extra argument (b)"),
        (["compare", "a.py", "b", "c", "--rounds", "many"], "'many' is not a valid integer"),
        (["selftest", "--seconds", "soon"], "'soon' is not a valid float"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_line_is_refused_in_words_with_exit_code_2(arguments: list[str], message: str, strop_cli: Cli) -> None:
    answer = strop_cli(*arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("planted"), 2),
        (WorkloadError("planted"), 2),
        (RecipeError("planted"), 2),
        (StropError("planted"), 1),
        (MeasureError("planted"), 1),
        (LedgerError("planted"), 1),
        (OSError(28, "planted: no space left"), 1),
        (click.UsageError("planted"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_ends_in_words_and_its_exit_code(
    error: BaseException, code: int, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(error, monkeypatch)
    answer = strop_cli("list")
    assert answer.code == code
    assert ("interrupted" if code == 130 else "planted") in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("left_with", [0, None, 3, "a message"])
def test_called_code_that_leaves_the_process_is_a_failure(
    left_with: object, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 says that something was kept, so a workload's own ``sys.exit(0)`` must not become it."""
    raising(SystemExit(left_with), monkeypatch)
    answer = strop_cli("list")
    assert answer.code == 1
    assert f"ended the process with {left_with!r}" in answer.err


def test_a_defect_of_strop_keeps_its_traceback(strop_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(ZeroDivisionError("planted"), monkeypatch)
    with pytest.raises(ZeroDivisionError, match="planted"):
        strop_cli("list")


def test_a_request_to_terminate_is_an_interrupt(strop_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    def unheard(*_: object) -> None:
        raise AssertionError("the request was not heard")

    signal.signal(signal.SIGTERM, unheard)  # put back by the fixture of every test here
    monkeypatch.setattr(type(root), "get_command", lambda *_: click.Command("list", callback=wait))
    assert strop_cli("list").code == 130


def test_what_a_command_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for returned, code in ((3, 3), (None, 0), (0, 0)):
        command = click.Command("list", callback=lambda returned=returned: returned)
        monkeypatch.setattr(type(root), "get_command", lambda *_, command=command: command)
        assert main(["list"]) == code


def test_a_reader_that_goes_away_is_not_an_error_of_ours(tmp_path: Path) -> None:
    script = f"set -o pipefail; '{sys.executable}' -m strop list | head -c 10 > '{tmp_path / 'out'}'"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "ended the process" not in done.stderr
    assert (tmp_path / "out").stat().st_size == 10


TOLD = """
import click
from strop.cli import main, root
type(root).get_command = lambda *_: click.Command("list", callback=lambda: click.echo("at least: ≥ 3"))
raise SystemExit(main(["list"]))
"""


def test_a_locale_without_a_sign_costs_the_sign_and_not_the_answer() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "iso-8859-15", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", TOLD], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"at least: ? 3\n"), done.stderr[-500:]
