"""The sections of the configuration file: every key, its type and its default."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from dicomnode import hours
from dicomnode.config.values import (
    AETitle,
    ClientId,
    Count,
    DayHours,
    FilePath,
    Fingerprint,
    Hook,
    Host,
    ListenPort,
    Name,
    Port,
    Seconds,
    Size,
    SubjectName,
    Topic,
    host,
    shown,
)

MIB = 1 << 20
LEAST_PDU = 4096
LARGEST_PDU = 16 * MIB


class Section(BaseModel):
    """A frozen section; keys that it does not name are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _all_commented_out(cls, value: object) -> object:
        return {} if value is None else value


def _changed(section: Section) -> bool:
    """Whether any key has another value than its default."""
    return any(getattr(section, name) != field.default for name, field in type(section).model_fields.items())


class NodeTlsSettings(Section):
    """TLS for those who call us; off without a `certificate`. On `port`, or on the node's only port without one.

    Callers show a certificate that `ca` signed. A `key` that is not given stands in the certificate's file.
    """

    port: ListenPort | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    ca: FilePath | None = None

    @model_validator(mode="after")
    def _sensible(self) -> NodeTlsSettings:
        if self.certificate is None and _changed(self):
            raise ValueError("certificate: must be given, or nobody can call over TLS")
        if self.certificate is not None and self.ca is None:
            raise ValueError("ca: must be given: it says whose certificates callers may show")
        return self


class PeerTlsSettings(Section):
    """TLS to and from a peer; off without `ca` and `fingerprint`. `certificate` is ours, by default the node's.

    The peer's certificate has this `fingerprint`, or else this `name` (by default the peer's host).
    """

    ca: FilePath | None = None
    fingerprint: Fingerprint | None = None
    name: SubjectName | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    @property
    def on(self) -> bool:
        """Whether this peer is spoken to over TLS."""
        return bool(self.ca or self.fingerprint)

    @model_validator(mode="after")
    def _sensible(self) -> PeerTlsSettings:
        if not self.on and _changed(self):
            raise ValueError("ca: must be given, or fingerprint: without them the peer is not known")
        if self.name and self.fingerprint:
            raise ValueError("name: is of no use with a fingerprint")
        if self.key and not self.certificate:
            raise ValueError("key: goes together with certificate")
        return self


class NodeSettings(Section):
    """Our own application entity and what its associations may use; sizes are bytes."""

    ae_title: AETitle
    bind: Host
    port: ListenPort
    associations: Count = 64
    associations_per_address: Count = 32
    pdu: Size = MIB
    whole: Size = 8 * MIB
    tls: NodeTlsSettings = NodeTlsSettings()

    @model_validator(mode="after")
    def _sensible(self) -> NodeSettings:
        if not LEAST_PDU <= self.pdu <= LARGEST_PDU:
            raise ValueError("pdu: must be from 4KiB to 16MiB")
        if self.associations_per_address > self.associations:
            raise ValueError("associations_per_address: must not be more than associations")
        return self


class StorageSettings(Section):
    """Where everything durable lies. `keep` says whether a study's segments stay after it was delivered everywhere.

    With less than `min_free` bytes free on that file system no instance is taken. Up to `spare` bytes of the files of
    delivered studies stay, without their names, to be written over by the next ones.
    """

    directory: FilePath
    keep: Literal["none", "segments"] = "none"
    min_free: Size = 2048 * MIB
    spare: Size | None = 256 * MIB


class QueueSettings(Section):
    """How much may wait for or be in de-identification at once."""

    bytes: Size = 16 * MIB
    instances: Count = 64


def _address(value: object) -> str:
    try:
        return host(value)
    except ValueError:
        try:
            ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            raise ValueError(
                f"must be an IP address, a network such as 10.1.2.0/24 or a host name, not {shown(value)}"
            ) from None
        return str(value)


class OffPeakSettings(Section):
    """When studies are fetched, per weekday: windows that begin on that day, minutes since its midnight."""

    mon: DayHours = ()
    tue: DayHours = ()
    wed: DayHours = ()
    thu: DayHours = ()
    fri: DayHours = ()
    sat: DayHours = ()
    sun: DayHours = ()

    @property
    def windows(self) -> tuple[hours.Window, ...]:
        """The windows of the week; none where studies are fetched at any time."""
        days = enumerate(hours.DAYS)
        return tuple(window for number, day in days for window in hours.of_week(number, getattr(self, day)))


class PeerSettings(Section):
    """A remote application entity; `addresses` may call us under its AE title, its host when not given.

    As a destination: `associations` at once by default as many as forward.associations, `confirm` as the project says.
    As a source it is asked for `max_moves` studies at once.
    """

    ae_title: AETitle
    host: Host
    port: Port
    addresses: tuple[Annotated[str, BeforeValidator(_address)], ...] = ()
    associations: Count | None = None
    confirm: Literal["status", "find"] | None = None
    tls: PeerTlsSettings = PeerTlsSettings()
    max_moves: Count = 1
    off_peak: OffPeakSettings = OffPeakSettings()


class CompletionSettings(Section):
    """When a study counts as complete: `quiet` seconds after its last instance at the earliest.

    Then the source is asked as `verify` says, for up to `patience` seconds; `incomplete` studies wait or go.
    """

    quiet: Seconds = 60.0
    verify: Literal["find", "counts", "quiet"] = "find"
    patience: Seconds = 300.0
    incomplete: Literal["wait", "forward"] = "wait"


class PatientSettings(Section):
    """What becomes of patients that the project's table of pseudonyms does not have."""

    unknown: Literal["assign", "withhold", "refuse"] = "assign"


class HookSettings(Section):
    """The site's own code: the name of an entry point, or a command with its path."""

    run: Hook | None = None
    study: Hook | None = None
    timeout: Seconds = 600.0


class ProjectSettings(Section):
    """Who the images are for. `ae_title` defaults to the node's; without a `source` nothing can be retrieved.

    What is kept sealed is sealed under a key from `seal_key_file`, by default from the project's own; older ones open.
    With `keep_identified` runs keep the sealed originals of what was de-identified.
    """

    rules: FilePath
    key_file: FilePath | None = None
    seal_key_file: FilePath | None = None
    older_seal_key_files: tuple[FilePath, ...] = ()
    ae_title: AETitle | None = None
    source: Name | None = None
    destinations: tuple[Name, ...]
    completion: CompletionSettings = CompletionSettings()
    confirm: Literal["status", "find"] = "status"
    patients: PatientSettings = PatientSettings()
    hooks: HookSettings = HookSettings()
    keep_identified: bool = False


class ForwardSettings(Section):
    """Sending: the wait between attempts doubles from `first` to `most` seconds; `attempts` limits refusals, cuts."""

    associations: Count = 1
    attempts: Count = 20
    first: Seconds = 5.0
    most: Seconds = 900.0

    @model_validator(mode="after")
    def _sensible(self) -> ForwardSettings:
        if self.first > self.most:
            raise ValueError("first: must not be longer than most")
        return self


class TimeoutSettings(Section):
    """Deadlines in seconds; every wait on the network has one."""

    handshake: Seconds = 10.0
    idle: Seconds = 60.0
    stall: Seconds = 30.0
    answer: Seconds = 300.0
    connect: Seconds = 10.0
    arrive: Seconds = 30.0
    silence: Seconds = 1800.0
    drain: Seconds = 20.0


class LogSettings(Section):
    """`auto` is console on a terminal and JSON lines otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class MqttSettings(Section):
    """Where events are published; off without a `host`. `port` is by default 8883 with TLS and 1883 without.

    `topic` is what all topics begin with, by default dicomnode/<AE title>. The password stands in a file of its own.
    """

    host: Host | None = None
    port: Port | None = None
    topic: Topic | None = None
    client_id: ClientId | None = None
    username: ClientId | None = None
    password_file: FilePath | None = None
    tls: Literal["off", "on"] = "off"
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    cert_key_file: FilePath | None = None

    @model_validator(mode="after")
    def _sensible(self) -> MqttSettings:
        if self.host is None and _changed(self):
            raise ValueError("host: must be given, or nothing is published")
        if self.password_file and not self.username:
            raise ValueError("username: must be given with password_file")
        for name in ("ca_file", "cert_file", "cert_key_file"):
            if getattr(self, name) and self.tls == "off":
                raise ValueError(f"{name}: is of no use without tls: on")
        if bool(self.cert_file) != bool(self.cert_key_file):
            raise ValueError("cert_file: goes together with cert_key_file")
        return self

    @property
    def reached_at(self) -> int:
        """The broker's port."""
        return self.port or (8883 if self.tls == "on" else 1883)


class MetricsSettings(Section):
    """The page for Prometheus; off without a `port`."""

    bind: Host = "127.0.0.1"
    port: ListenPort | None = None


class File(Section):
    """The whole file."""

    node: NodeSettings
    storage: StorageSettings
    queue: QueueSettings = QueueSettings()
    peers: dict[Name, PeerSettings]
    projects: dict[Name, ProjectSettings]
    forward: ForwardSettings = ForwardSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    log: LogSettings = LogSettings()
    mqtt: MqttSettings = MqttSettings()
    metrics: MetricsSettings = MetricsSettings()


def key_file(storage: Path, project: str) -> Path:
    """Where a project's key lies when the configuration names no key_file."""
    return storage / "keys" / f"{project}.key"
