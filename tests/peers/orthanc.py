"""Orthanc, as staging or research PACS, with a small REST client for the loopback interface."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peers.dcmtk import QUICK
from peers.process import HOST, Program, find, free_port


class Orthanc(Program):
    """An Orthanc server without plugins; `modalities` are name -> (AE title, port) on the loopback interface."""

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, tuple[str, int]] = {},
        *,
        ae_title: str = "STAGING",
        port: int | None = None,
        settings: Mapping[str, object] = {},
        environment: Mapping[str, str] = QUICK,
    ):
        self.ae_title = ae_title
        self.port = port or free_port()
        self.http = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "orthanc.json"
        config.write_text(json.dumps(self._configuration(folder, modalities) | dict(settings), indent=1))
        super().__init__([find("Orthanc"), config], folder / "orthanc.log", environment)
        self.wait_ready(self._ready, 40)

    def _configuration(self, folder: Path, modalities: Mapping[str, tuple[str, int]]) -> dict[str, object]:
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "HttpPort": self.http,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {name: [title, HOST, port] for name, (title, port) in modalities.items()},
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomCheckModalityHost": False,
            "UnknownSopClassAccepted": True,
            "StableAge": 1,
            "OverwriteInstances": True,
            "StorageCompression": False,
            "SynchronousCMove": True,
            "ConcurrentJobs": 2,
            "DicomScpTimeout": 30,
            "SaveJobs": False,
        }

    def _ready(self) -> bool:
        try:
            self.get("/system")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{HOST}:{self.http}{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        """GET, parsed as JSON."""
        return json.loads(self._request("GET", path))

    def post(self, path: str, body: object) -> Any:
        """POST of JSON, parsed as JSON."""
        return json.loads(self._request("POST", path, json.dumps(body).encode()) or b"null")

    def upload(self, files: Iterable[bytes]) -> list[str]:
        """Store Part 10 files; returns Orthanc's ids of the instances."""
        return [json.loads(self._request("POST", "/instances", data))["ID"] for data in files]

    def instances(self) -> list[str]:
        """Orthanc's ids of all that it holds."""
        return list(self.get("/instances"))

    def file(self, instance: str) -> bytes:
        """The Part 10 file of an instance, as it is stored."""
        return self._request("GET", f"/instances/{instance}/file")

    def files(self) -> dict[str, bytes]:
        """SOP Instance UID to Part 10 file of everything."""
        return {
            self.get(f"/instances/{instance}")["MainDicomTags"]["SOPInstanceUID"]: self.file(instance)
            for instance in self.instances()
        }

    def delete_all(self) -> None:
        """Delete every patient."""
        for patient in self.get("/patients"):
            self._request("DELETE", f"/patients/{patient}")

    def store(self, modality: str, resources: Iterable[str]) -> Any:
        """C-STORE of instances, series or studies to a modality; waits for the end."""
        body = {"Resources": list(resources), "Synchronous": True, "Timeout": 60}
        return self.post(f"/modalities/{modality}/store", body)
