"""A site's own code after de-identification: Python entry points (group dicomnode.hooks), or commands.

A study hook runs in a process of its own and gets one JSON document on standard input, pseudonymous only. A run hook
is called as function(run_dir, overview, practice), or gets the same as JSON. What they return, or print, is kept.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TextIO

from dicomnode.errors import PermanentError

GROUP = "dicomnode.hooks"


class HookFailed(PermanentError):
    """A hook is not there, or did not end well."""


def is_command(hook: str) -> bool:
    """A command has a path, an entry point a name."""
    return "/" in hook


def find(hook: str) -> Callable[..., Any]:
    """The function of an entry point; raises HookFailed."""
    known = {each.name: each for each in entry_points(group=GROUP)}
    if hook not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise HookFailed(f"no installed package has the hook {hook}", f"install it into this environment; {there}")
    try:
        found = known[hook].load()
    except Exception as error:  # noqa: BLE001 - it is not our code
        raise HookFailed(f"the hook {hook} cannot be loaded: {type(error).__name__}", "mend its package") from None
    if not callable(found):
        raise HookFailed(f"the hook {hook} is no function", "mend its package")
    return found  # type: ignore[no-any-return]


def check(hook: str) -> str:
    """What there is to say of a hook before it is needed; raises HookFailed."""
    if not is_command(hook):
        find(hook)
        return f"{hook}, an entry point"
    program = shlex.split(hook)[0]
    if not os.access(program, os.X_OK):
        raise HookFailed(f"{program} cannot be run", "correct the path, or make it executable")
    return f"{program}, a command"


def call_study(hook: str, document: Mapping[str, object], seconds: float, output: Path) -> None:
    """Call a study hook; what it prints goes to the file `output` (0600). Raises HookFailed."""
    line = shlex.split(hook) if is_command(hook) else [sys.executable, "-m", "dicomnode.hooks", hook]
    with _private(output) as file:
        _run(hook, line, document, seconds, file, file, f"hooks/{output.parent.name}/{output.name} in the storage")


def call_run(hook: str, run_dir: Path, overview: TextIO, practice: bool, seconds: float) -> str:
    """Call a run hook; its text. What a command says on standard error goes to `overview`. Raises HookFailed."""
    if is_command(hook):
        output, document = run_dir / "post_anon_in_progress.txt", {"run_dir": str(run_dir), "practice": practice}
        with _private(output) as file:
            said = f"{output.name} and overview.txt of the run"
            _run(hook, shlex.split(hook), document, seconds, file, overview, said)
        text = output.read_text(encoding="utf-8", errors="replace")
        output.unlink()
        return text
    try:
        return str(find(hook)(str(run_dir), overview, practice))
    except HookFailed:
        raise
    except Exception as error:  # noqa: BLE001 - it is not our code, and its text may hold anything
        raise HookFailed(f"the hook {hook} failed: {type(error).__name__}", "mend it, then: dicomnode run -r") from None


def _private(path: Path) -> TextIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8")


def _run(
    hook: str,
    line: list[str],
    document: Mapping[str, object],
    seconds: float,
    output: TextIO,
    errors: TextIO,
    said: str,
) -> None:
    """Call a program; `said` is where what it printed can be read. Raises HookFailed."""
    errors.flush()
    try:
        ended = subprocess.run(
            line,
            input=json.dumps(document).encode(),
            stdout=output,
            stderr=errors,
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise HookFailed(
            f"the hook {hook} cannot be run: {os.strerror(error.errno or 0)}", "correct its path"
        ) from None
    except subprocess.TimeoutExpired:
        raise HookFailed(
            f"the hook {hook} did not end within {seconds:g} s", "mend it, or raise hooks.timeout"
        ) from None
    if ended.returncode:
        raise HookFailed(f"the hook {hook} ended with exit code {ended.returncode}", f"see {said}")


def main() -> None:
    """The process of a study hook that is an entry point."""
    hook, document = sys.argv[1], json.load(sys.stdin)
    try:
        text = find(hook)(document)
    except HookFailed as error:
        sys.exit(str(error))
    print(text or "")


if __name__ == "__main__":
    main()
