"""The `cryosphere` command: find the command asked for, run it, turn what went wrong into a message and an exit code.

How a command is added: one file in this folder with one function of the command's name. The function's signature is the
command's options and its docstring the help text; it imports the one library function it calls inside its body, so that
neither `cryosphere --help` nor `cryosphere NAME --help` waits for torch. Then its name in `_COMMANDS` below.
"""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from cryosphere import __version__
from cryosphere.cli.analyze import analyze
from cryosphere.cli.backproject import backproject
from cryosphere.cli.bench import bench
from cryosphere.cli.demo import demo
from cryosphere.cli.doctor import doctor
from cryosphere.cli.evaluate import evaluate
from cryosphere.cli.fit import fit
from cryosphere.cli.options import Flag
from cryosphere.cli.prepare import prepare
from cryosphere.cli.project import project
from cryosphere.cli.simulate import simulate
from cryosphere.cli.structures import structures
from cryosphere.cli.terminal import report_error, set_up_logging, show_traceback
from cryosphere.cli.train import train
from cryosphere.cli.validate import validate
from cryosphere.cli.volume_of import volume_of
from cryosphere.cli.volumes import volumes
from cryosphere.errors import CryosphereError, FailedElsewhereError, InputError
from cryosphere.files import is_disk_full
from cryosphere.launch import is_first_of_job, is_in_a_job
from cryosphere.memory import keep_freed_memory

OWN_FAILURE = 1
WRONG_INPUT = 2
INTERRUPTED = 130  # what shells report for Ctrl-C

_ENVIRONMENT = {
    getattr(errno, f"E{name}") for name in ("ACCES", "PERM", "ROFS", "NOENT", "NOTDIR", "ISDIR", "EXIST", "NAMETOOLONG")
}
"""Failures of reading and writing that lie with files, folders and disks."""

_COMMANDS = (
    demo,
    prepare,
    doctor,
    train,
    analyze,
    structures,
    volumes,
    backproject,
    fit,
    volume_of,
    project,
    simulate,
    validate,
    evaluate,
    bench,
)  # in the order in which --help lists them

_NAMES = {command: command.__name__.replace("_", "-") for command in _COMMANDS}

_IN_ONE_PROCESS = {_NAMES[command] for command in (demo, prepare, doctor, fit, volume_of, project, simulate, bench)}
"""Commands whose work `torchrun` cannot share out."""

_GENERAL = Group("General options", sort_key=1)
_GENERAL_NAMES = {"--verbose", "--quiet", "--traceback", "--help", "--version"}

app = App(
    name="cryosphere",
    help="One atomic structure per cryo-EM particle image. `cryosphere COMMAND --help` explains a command.",
    version=__version__,
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.meta.suppress_keyboard_interrupt = False  # else Ctrl-C ends without a word
app["--help"].group = _GENERAL
app["--version"].group = _GENERAL
for _command in _COMMANDS:
    app.command(_command)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    verbose: Annotated[Flag, Parameter(name=["--verbose", "-v"], group=_GENERAL)] = False,
    quiet: Annotated[Flag, Parameter(name=["--quiet", "-q"], group=_GENERAL)] = False,
    traceback: Annotated[Flag, Parameter(group=_GENERAL)] = False,
) -> object:
    """Run one command.

    Args:
        tokens: The command and its options.
        verbose: Say more: what was read from where, what was assumed.
        quiet: Say only what went wrong.
        traceback: Show where in the code a failure arose (also: CRYOSPHERE_TRACEBACK=1).
    """
    if traceback:
        os.environ["CRYOSPHERE_TRACEBACK"] = "1"
    set_up_logging("WARNING" if quiet else "DEBUG" if verbose else "INFO")
    if is_in_a_job() and tokens and tokens[0] in _IN_ONE_PROCESS:
        if not is_first_of_job():
            raise FailedElsewhereError(WRONG_INPUT)
        raise InputError(f"{tokens[0]} runs in one process: start it without torchrun")
    return app(tokens)


def run(arguments: Sequence[str]) -> int:
    """Run the command line given and return the exit code: 0 success, 2 wrong input, 1 our own failure, 130 Ctrl-C.

    A command that has more to say than success or failure returns its exit code.
    """
    try:
        result = app.meta(list(arguments), print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        if is_first_of_job():  # the others were given the same words
            report_error(_explain(error))
        return WRONG_INPUT
    except FailedElsewhereError as error:
        return error.exit_code
    except CryosphereError as error:
        show_traceback(error)
        report_error(str(error))
        return error.exit_code
    except KeyboardInterrupt as interruption:
        if is_first_of_job():
            report_error(str(interruption) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing is left to say
        return OWN_FAILURE
    except Exception as error:
        return _unforeseen(error)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the installed `cryosphere` script."""
    signal.signal(signal.SIGTERM, _interrupt)
    # read when PyTorch is loaded: threads that wait for others then leave the cores to those (docs/performance.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    sys.exit(run(sys.argv[1:]))


def _interrupt(number: int, _frame: object) -> None:
    """SIGTERM ends a command as Ctrl-C does: temporary files are cleared away."""
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")


def _unforeseen(error: Exception) -> int:
    """Message and exit code for what is no error of ours: a full disk and the like, too little memory, or a fault."""
    traced = show_traceback(error)
    if is_disk_full(error):  # met by a library that was not told how to say it
        where = getattr(error, "filename", None) or "a file"
        report_error(
            f"{where}: the disk or quota is full ({_first_line(error)}). Make room; a run can then go on with --resume."
        )
        return WRONG_INPUT
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT and error.filename is not None:
        report_error(f"{error.filename}: {error.strerror}. A file or folder cannot be read or written there.")
        return WRONG_INPUT
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter is torch's, for GPUs
        report_error(f"not enough memory: {_first_line(error)}. A smaller --batch-size or --box needs less.")
        return OWN_FAILURE
    if not traced:
        report_error(
            f"unexpected {type(error).__name__}: {_first_line(error)}\n"
            "This is a fault of cryosphere, not of your input. With --traceback (or CRYOSPHERE_TRACEBACK=1) it "
            "shows where it arose; please report it with that."
        )
    return OWN_FAILURE


def _explain(error: CycloptsError) -> str:
    """One sentence for a command line that cannot be understood, with the nearest word that can."""
    words = list(getattr(error, "unused_tokens", None) or [])
    if isinstance(error, UnknownCommandError) and words and not words[0].startswith("-"):
        names = list(_NAMES.values())
        return f"unknown command {words[0]!r}{_nearest(words[0], names)}; commands: {', '.join(names)}"
    if isinstance(error, UnknownCommandError) and words:
        return f"unknown option {words[0]!r}{_nearest(words[0], _GENERAL_NAMES)}; --help lists the options"
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value
        known = {name for argument in error.argument_collection for name in argument.names}
        return f"unknown option {word!r}{_nearest(word, known | _GENERAL_NAMES)}; --help lists the options"
    if isinstance(error, UnusedCliTokensError):
        return f"do not know what to do with {' '.join(words)!r}; --help shows what the command takes"
    return " ".join(str(error).split())


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"
