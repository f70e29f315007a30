"""The configuration file, read strictly: what is unknown, wrong or contradictory is an error with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from dicomnode.config import lines
from dicomnode.config.cross import check
from dicomnode.config.explain import explain
from dicomnode.config.sections import (
    File,
    ForwardSettings,
    LogSettings,
    MetricsSettings,
    MqttSettings,
    NodeSettings,
    PeerSettings,
    ProjectSettings,
    QueueSettings,
    StorageSettings,
    TimeoutSettings,
    key_file,
)
from dicomnode.errors import ConfigError
from dicomnode.model import Peer, PeerTls

__all__ = [
    "ForwardSettings",
    "LogSettings",
    "MetricsSettings",
    "MqttSettings",
    "NodeSettings",
    "ProjectSettings",
    "QueueSettings",
    "Settings",
    "StorageSettings",
    "TimeoutSettings",
    "load",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that holds together: paths are absolute, names resolve, every project has its AE title."""

    file: Path
    node: NodeSettings
    storage: StorageSettings
    queue: QueueSettings
    peers: Mapping[str, Peer]
    destinations: Mapping[str, PeerSettings]
    projects: Mapping[str, ProjectSettings]
    forward: ForwardSettings
    timeouts: TimeoutSettings
    log: LogSettings
    mqtt: MqttSettings
    metrics: MetricsSettings

    def called(self, project: str) -> str:
        """The called AE title that chooses a project."""
        return self.projects[project].ae_title or self.node.ae_title

    def confirm(self, project: str, destination: str) -> str:
        """What proves to a project that this destination has a study: status or find."""
        return self.destinations[destination].confirm or self.projects[project].confirm

    def associations(self, destination: str) -> int:
        """How many associations a destination takes at once."""
        return self.destinations[destination].associations or self.forward.associations

    def key_file(self, project: str) -> Path:
        """The key file of a project: the configured one, else one in the storage directory."""
        return self.projects[project].key_file or key_file(self.storage.directory, project)


def _peer(file: File, name: str, peer: PeerSettings) -> Peer:
    return Peer(
        name,
        peer.ae_title,
        peer.host,
        peer.port,
        peer.addresses or (peer.host,),
        _tls(file, peer),
        peer.max_moves,
        peer.off_peak.windows,
    )


def _tls(file: File, peer: PeerSettings) -> PeerTls | None:
    """What is ours is by default the node's."""
    tls, ours = peer.tls, peer.tls if peer.tls.certificate else file.node.tls
    if not tls.on:
        return None
    return PeerTls(tls.ca, ours.certificate, ours.key, tls.fingerprint or "", tls.name or peer.host)


def load(path: Path) -> Settings:
    """Read and check a configuration file; raises ConfigError with one line `FILE:LINE: what; hint`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "name the configuration with --config FILE") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})", "name a file that this user may read") from None
    return parse(content, path)


def parse(content: bytes, path: Path) -> Settings:
    """Check the content of a configuration file; relative paths are relative to the directory of `path`."""
    document = lines.read(str(path), content)
    try:
        file = File.model_validate(document.value, context={"base": path.absolute().parent})
    except ValidationError as error:
        raise explain(document, error) from None
    check(document, file)
    peers = {name: _peer(file, name, peer) for name, peer in file.peers.items()}
    return Settings(
        file=path.absolute(),
        node=file.node,
        storage=file.storage,
        queue=file.queue,
        peers=MappingProxyType(peers),
        destinations=MappingProxyType(dict(file.peers)),
        projects=MappingProxyType(dict(file.projects)),
        forward=file.forward,
        timeouts=file.timeouts,
        log=file.log,
        mqtt=file.mqtt,
        metrics=file.metrics,
    )
