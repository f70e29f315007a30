"""`dicomnode demo` ends well, without a terminal, and says what it withheld."""

from __future__ import annotations

import sys

from peers.process import run


def test_the_demonstration_succeeds(tmp_path):
    result = run([sys.executable, "-m", "dicomnode", "demo"], 90, {"TMPDIR": str(tmp_path)})
    assert result.returncode == 0, result.stdout
    assert "FAIL" not in result.stdout
    for expected in (
        "pixel-length",
        "sop-class",
        "residue",
        "suspicious-pixels at (0008,0016) ultrasound",
        "byte for byte",
        "PatientName",
        "quarantine",
    ):
        assert expected in result.stdout
    (folder,) = tmp_path.iterdir()
    assert str(folder) in result.stdout
