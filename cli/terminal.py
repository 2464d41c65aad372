"""What every command says to its reader: results on standard output, everything else on standard error."""

import errno
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from shared.errors import ServiceError
from shared.settings import SettingsError

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

_WHOLE = 24  # letters of a cell with spaces that no table breaks


class Failure(click.ClickException):
    """Raised when a command cannot do what it was asked for; its text is one sentence that says what to do."""

    exit_code = 1


class Interrupted(Failure):
    """Raised after Ctrl-C, when there is something to say about what goes on."""

    exit_code = 130


class Commands(click.Group):
    """A group of commands whose known failures are one sentence each, never a traceback."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands with their whole first sentence each, which Click would cut off."""
        rows = [(name, (command.help or "").partition("\n")[0]) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except ServiceError as error:
            raise Failure(error.detail) from error
        except SettingsError as error:
            raise Failure(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone: Click ends quietly
                raise
            raise Failure(_unusable(error)) from error
        except UnicodeError as error:
            raise Failure(f"A name or a text is not UTF-8 ({error}); write it in UTF-8 and try again.") from error
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.") from None


def read_text(name: object, read: Callable[[], str]) -> str:
    """What a file of text holds.

    Args:
        name: What the file is called.
        read: Reads it.

    Raises:
        Failure: It is not UTF-8. The error itself does not know the file.
    """
    try:
        return read()
    except UnicodeDecodeError as error:
        raise Failure(f"The file {name} is not UTF-8; save it as UTF-8, or take another.") from error


def print_json(value: Any) -> None:
    """Writes one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], nothing: str) -> None:
    """Writes a table without its empty columns, or a sentence when it would be empty.

    Ids, names and moments stay on one line, so that they can be copied, also where the terminal is too narrow.
    """
    if not rows:
        out.print(nothing, markup=False)
        return
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown, width = [], 0
    for index, column in enumerate(columns):
        cells = [row[index] for row in texts]
        if any(cells):
            folds = any(" " in cell and len(cell) > _WHOLE for cell in cells)
            table.add_column(column, overflow="fold", no_wrap=not folds)
            shown.append(index)
            width += 2 + max(len(column), _WHOLE if folds else max(map(len, cells)))
    for row in texts:
        table.add_row(*(row[index].replace("[", "\\[") for index in shown))
    Console(highlight=False, width=max(width, out.width) if out.is_terminal else 200).print(table, soft_wrap=False)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Writes names and values, one a line, leaving out what is not there."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if value is not None and value != "":
            out.print(f"{name:<{width}}  {value}", markup=False)


def say(sentence: str) -> None:
    """Writes one line to standard error."""
    err.print(sentence, markup=False)


def this_command() -> str:
    """How the ``headrace`` command is typed in this shell: by name if that finds this one, else by path."""
    beside = Path(sys.executable).parent / "headrace"
    found = shutil.which("headrace")
    if found is not None and (not beside.exists() or Path(found).samefile(beside)):
        return "headrace"
    if not beside.exists():
        return shlex.join([sys.executable, "-m", "cli"])
    return shlex.quote(str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside))


def on_stop_signals(handle: Callable[[int, FrameType | None], None]) -> None:
    """Handles what asks a process to stop; a hang-up that ``nohup`` ignores stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)


def _unusable(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"This could not be done ({reason}); `headrace doctor` looks for the cause."
    file = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    advice = {
        errno.EACCES: "give this user the right to it, or name another",
        errno.EPERM: "give this user the right to it, or name another",
        errno.ENOSPC: "make room there",
    }
    return f"{file} cannot be used ({reason}); {advice.get(error.errno or 0, 'put it right, or name another')}."


def with_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Puts several options on one command, the first one topmost in its help."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder of the server [default: ~/.local/share/headrace].",
)
