"""The command line's manners: quick to start, one clear message and the right exit code when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from cryosphere import __version__
from cryosphere.cli import main as command_line
from cryosphere.errors import ConfigError, NonFiniteLossError

COMMANDS = sorted(command_line._NAMES.values())
HEAVY = ("torch", "numpy", "pandas", "gemmi", "scipy", "matplotlib", "biotite", "sklearn", "mrcfile")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def failing_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command end in `error`."""

    def raise_it(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", SimpleNamespace(meta=raise_it))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments):  # that is what makes it quick, on a busy machine, too
    code = (
        "import sys; from cryosphere.cli.main import run; "
        f"assert run({arguments!r}) == 0; print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    assert python("-c", code).stderr.strip() == "[]"


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, cryosphere; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_help_lists_every_command_with_its_first_sentence(capsys):
    assert command_line.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in command_line._COMMANDS:
        assert command_line._NAMES[command] in shown


def test_version_is_the_installed_one(capsys):
    assert command_line.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulat", "x.yaml"], "did you mean 'simulate'"),
        (["project", "--model", "m", "--particles", "p", "--output", "o", "--vebose"], "did you mean '--verbose'"),
        (["--verbos", "project"], "did you mean '--verbose'"),
        (["simulate", "a.yaml", "b.yaml", "--outdir", "o"], "'b.yaml'"),
        (["simulate", "a.yaml"], "--outdir"),
        (["project", "--model", "m", "--particles", "p", "--output", "o", "--box", "many"], "--box"),
    ],
)
def test_a_command_line_that_cannot_be_understood_ends_with_2_and_one_line(arguments, says):
    result = python("-m", "cryosphere", *arguments)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("boks is unknown"), 2), (NonFiniteLossError("step 3"), 1), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(monkeypatch, error, code):
    failing_command(monkeypatch, error)
    assert command_line.run(["project"]) == code


FAIL = """
import sys
from types import SimpleNamespace
from cryosphere.cli import main
from cryosphere.errors import InputError
def fail(*_, **__):
    raise {error}
main.app = SimpleNamespace(meta=fail)
sys.exit(main.run([]))
"""


def test_an_error_of_ours_is_one_message_without_traceback_and_without_markup():
    result = python("-c", FAIL.format(error="InputError('row 3 of [p].star lacks rlnAngleRot')"))
    assert result.returncode == 2
    assert result.stderr == "cryosphere: row 3 of [p].star lacks rlnAngleRot\n"


@pytest.mark.parametrize(("switch", "shown"), [("1", True), ("0", False)])
def test_an_unexpected_failure_shows_its_traceback_only_when_asked(monkeypatch, switch, shown):
    monkeypatch.setenv("CRYOSPHERE_TRACEBACK", switch)
    result = python("-c", FAIL.format(error="ZeroDivisionError('division by zero')"))
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) == shown
    assert ("fault of cryosphere" in result.stderr) != shown
