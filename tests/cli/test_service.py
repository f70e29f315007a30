"""What the packaging promises: the unit that systemd accepts, the image's user and health check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "systemd" / "dicomnode.service").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def directives() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in UNIT.splitlines() if re.match(r"[A-Z]\w+=", line))
    return dict(pairs)  # type: ignore[arg-type]


def test_the_unit_keeps_identified_memory_off_the_disk() -> None:
    found = directives()
    assert found["Type"] == "notify"
    assert found["LimitCORE"] == "0"
    assert found["MemorySwapMax"] == "0"
    assert found["UMask"] == "0077"
    assert found["StateDirectory"] == "dicomnode"
    assert found["User"] == "dicomnode"
    assert "#LoadCredential=" in UNIT


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # a machine without systemd: the directives above are what can be looked at
    unit = tmp_path / "dicomnode.service"
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={Path(sys.executable).resolve()}", UNIT))
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert "dicomnode.service" not in verified.stderr
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def test_the_image_has_no_root_and_a_health_check() -> None:
    last = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert "USER dicomnode" in last
    assert 'CMD ["dicomnode", "check", "--running"]' in last
    assert DOCKERFILE.count("FROM ") == 2
