"""Secrets in files: nobody else may read them; systemd's credentials look as if the group could."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.errors import KeyFileError
from dicomnode.keys import create_key, load_key


def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "default.key"
    create_key(path)
    path.chmod(0o440)
    with pytest.raises(KeyFileError):
        load_key(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    load_key(path)
    path.chmod(0o444)
    with pytest.raises(KeyFileError):
        load_key(path)
