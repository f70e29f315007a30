"""Make the virtual environment and install this checkout into it: `python3 tools/venv.py DIRECTORY [EXTRA]`.

Standard library only, and no root: where ensurepip is missing (Debian without python3-venv), pip comes from the
system's pip, else from its wheel on the package index, else, as root, from the Debian package.
"""

import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path

INDEX = "https://pypi.org/simple"


def works(python: Path) -> bool:
    """Whether the environment's Python starts, is new enough and has pip."""
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def index_page(index: str) -> tuple[str, str]:
    """The package index's page on pip: (its address, its HTML)."""
    address = index.rstrip("/") + "/pip/"
    if address.startswith("file:"):
        address += "index.html"
    with urllib.request.urlopen(address, timeout=60, context=trust()) as answer:
        return address, answer.read().decode("utf-8", "replace")


def trust() -> ssl.SSLContext:
    """The certificates that pip would trust."""
    return ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)


def newest_wheel(page: str) -> str:
    """The address of the newest final pip wheel on an index page."""
    found = []
    for link in re.findall(r'href="([^"]+)"', page):
        version = re.search(r"/?pip-(\d+(?:\.\d+)*)-py3-none-any\.whl(?:#|$)", link)
        if version:
            found.append((tuple(int(part) for part in version[1].split(".")), link))
    if not found:
        raise OSError("the package index lists no pip wheel")
    return max(found)[1]


def wheel_from_index(directory: Path) -> Path:
    """Download pip's wheel and check its digest."""
    address, page = index_page(os.environ.get("PIP_INDEX_URL") or INDEX)
    link = urllib.parse.urljoin(address, newest_wheel(page).replace("&amp;", "&"))
    place, _, fragment = link.partition("#")
    with urllib.request.urlopen(place, timeout=60, context=trust()) as answer:
        content = answer.read()
    if fragment.startswith("sha256=") and hashlib.sha256(content).hexdigest() != fragment.removeprefix("sha256="):
        raise OSError("the pip wheel's digest is wrong")
    wheel = directory / urllib.parse.unquote(place.rsplit("/", 1)[1])
    wheel.write_bytes(content)
    return wheel


def bootstrap(venv: Path) -> None:
    """An environment without pip, then pip into it."""
    python = venv / "bin" / "python"
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", venv])
    if find_spec("pip") and not run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "pip"], False):
        return
    try:
        with tempfile.TemporaryDirectory() as directory:
            wheel = wheel_from_index(Path(directory))
            run([python, wheel / "pip", "install", "-q", "--no-index", wheel])
    except OSError as error:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            sys.exit(f"cannot get pip ({error}); install it with: sudo apt-get install python3-venv")
        install_debian_package()
        run([sys.executable, "-m", "venv", "--clear", venv])


def install_debian_package() -> None:
    """As root: the Debian package that carries ensurepip for this Python."""
    name = f"python3.{sys.version_info.minor}-venv"
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", name]
    if run(command, False):
        run(["apt-get", "update", "-qq"])
        run(command)


def run(command: list[str | Path], must: bool = True) -> int:
    """Run a command; end with its status when it fails and must not."""
    status = subprocess.run(command, check=False).returncode
    if status and must:
        sys.exit(f"this failed ({status}): {' '.join(str(word) for word in command)}")
    return status


def main() -> None:
    """Make or mend the environment, then install."""
    venv = Path(sys.argv[1])
    extra = f"[{sys.argv[2]}]" if len(sys.argv) > 2 else ""
    python = venv / "bin" / "python"
    if not works(python):
        print(f"making {venv}", flush=True)
        if find_spec("ensurepip"):
            run([sys.executable, "-m", "venv", "--clear", venv])
        else:
            bootstrap(venv)
    print(f"installing dicomnode{extra} into {venv}", flush=True)
    run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", f".{extra}"])
    run([python, "-m", "compileall", "-q", "dicomnode"], False)  # each start would, where the service may not write


if __name__ == "__main__":
    main()
