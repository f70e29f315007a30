"""Runs a program as systemd/dicomnode.service does in one point: what its SystemCallFilter denies fails with EPERM."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parents[1] / "systemd" / "dicomnode.service"
ALLOW, DENY = 0x7FFF0000, 0x00050000 | errno.EPERM  # seccomp(2)


def denied() -> list[str]:
    """The names of the system calls in the groups that the unit takes away."""
    (groups,) = re.findall(r"^SystemCallFilter=~(.*)$", UNIT.read_text(), re.MULTILINE)
    names: list[str] = []
    left = groups.split()
    while left:
        asked = ["systemd-analyze", "syscall-filter", left.pop()]
        text = subprocess.run(asked, capture_output=True, text=True, check=True)
        found = [line.strip() for line in text.stdout.splitlines()[1:]]
        left += [name for name in found if name.startswith("@")]
        names += [name for name in found if re.fullmatch(r"\w+", name)]
    return names


def confine(names: list[str]) -> None:
    """Deny them to this process and all that come of it."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ALLOW))
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(context, DENY, number, 0) == 0, name
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(denied())
    os.execv(sys.argv[1], sys.argv[1:])
