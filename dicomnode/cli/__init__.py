"""The command `dicomnode`: exit 0 done, 1 the answer is no, 2 wrong use; every error is one line."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import click

from dicomnode import __version__, memory
from dicomnode.errors import ConfigError, DicomnodeError, RulesError

COMMANDS = (
    *("serve", "check", "retrieve", "jobs", "run", "studies", "quarantine", "reidentify", "unseal", "mapping"),
    *("clean", "filter", "summary"),
    *("deidentify", "identifiers", "rules", "demo"),
)
PIXELS = ("numpy", "PIL", "pylibjpeg", "libjpeg", "openjpeg", "rle")
"""What pydicom loads for pixels, which only the transcoding worker decodes."""
AIDS = ("requests", "rich")
"""What pydicom loads for downloads and structlog for tracebacks: 10 MB where they are installed."""
UNUSED = {"serve": PIXELS + AIDS, "deidentify": PIXELS, "identifiers": PIXELS, "rules": PIXELS}
RIGHTS = (errno.EACCES, errno.EPERM)
TROUBLE = (*RIGHTS, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""What the system may refuse whatever the program does; it is no error of ours."""
DONE, NO, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


class Commands(click.Group):
    """Imports a command's module when it is called, so that each starts fast and stands alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, from the module of that name."""
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            if near:
                ctx.fail(f"No such command '{cmd_name}'. Did you mean '{near[0]}'?")
            return None
        if cmd_name == "serve":
            memory.starting()
        for package in UNUSED.get(cmd_name, ()):
            memory.do_without(package)
        module = import_module(f"dicomnode.cli.{cmd_name}")
        command = getattr(module, f"{cmd_name}_", None) or getattr(module, cmd_name)
        return command if isinstance(command, click.Command) else None


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dicomnode")
@click.option("--debug", is_flag=True, help="After an error, show where in the code it happened.")
def dicomnode(debug: bool) -> None:
    """A DICOM node that de-identifies studies on their way from a staging PACS to a research PACS."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    _forbid_core_dumps()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = dicomnode.main([word for word in words if word != "--debug"], "dicomnode", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return WRONG_USE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "dicomnode"
        return _failed(f"{_one_line(error.format_message()).rstrip('.')}; see {where} --help", WRONG_USE)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO
    except DicomnodeError as error:
        _show_trace(error, debug)
        return _failed(str(error), WRONG_USE if isinstance(error, ConfigError | RulesError) else NO)
    except OSError as error:
        if error.errno not in TROUBLE:
            return _unexpected(error, debug)
        _show_trace(error, debug)
        return _failed(_trouble(error, words), NO)
    except Exception as group:  # noqa: BLE001 - the last resort: its text may quote values, so only its type is told
        return _unexpected(_first(group), debug)


def _unexpected(cause: Exception, debug: bool) -> int:
    _show_trace(cause, debug)
    last = traceback.extract_tb(cause.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return _failed(f"unexpected {type(cause).__name__} at {where}; run it again with --debug and report it", NO)


def _trouble(error: OSError, words: Sequence[str]) -> str:
    """What the system refused, and what to do. Of paths only what was typed is told: others may name somebody."""
    why = os.strerror(error.errno or 0)
    if _is_output(error):
        return f"the output cannot be written: {why}; make room where it goes, or send it elsewhere"
    typed = next((word for word in words if error.filename and _is_below(Path(str(error.filename)), word)), None)
    where = (
        f"{typed}, or something in it,"
        if typed
        else "a file of the storage directory, or one that the configuration names,"
    )
    remedy = "run it as the user who may use it" if error.errno in RIGHTS else "make room there, or repair the disk"
    return f"{where} cannot be read or written: {why}; {remedy}"


def _is_below(path: Path, word: str) -> bool:
    return bool(word) and path.absolute().is_relative_to(Path(word).absolute())


def _is_output(error: OSError) -> bool:
    """Whether it is standard output that takes nothing; then nothing more is tried to be written there."""
    if traceback.extract_tb(error.__traceback__)[-1].name != click.echo.__name__:
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _forbid_core_dumps() -> None:
    """Memory holds identified data: no core file, and no dump taken by others (prctl PR_SET_DUMPABLE)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(4, 0)


def _first(error: Exception) -> Exception:
    """Of a group of exceptions the first one, for that is what went wrong."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _failed(message: str, code: int) -> int:
    click.echo(f"dicomnode: {_one_line(message)}", err=True)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_trace(error: Exception, debug: bool) -> None:
    """Frames and types only: the text of a foreign exception may quote an identified value."""
    while debug and error is not None:
        click.echo(f"{type(error).__name__} at", err=True)
        click.echo("".join(traceback.format_tb(error.__traceback__)).rstrip(), err=True)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
