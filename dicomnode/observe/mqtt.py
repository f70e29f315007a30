"""Events to an MQTT broker: QoS 1, from the journal, where they wait until the broker has acknowledged them.

Nothing waits for the broker. What it did not acknowledge is published again, so an event can come twice: same id.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import ssl
import threading
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiomqtt import Client, MqttCodeError, MqttError, Will
from aiomqtt.exceptions import MqttConnectError

from dicomnode import disk
from dicomnode.config import MqttSettings, Settings
from dicomnode.errors import ConfigError, DicomnodeError
from dicomnode.model import Event
from dicomnode.observe.guard import Guard
from dicomnode.store.journal import Journal
from dicomnode.studies import backoff

log = structlog.get_logger()
_unheard = logging.Logger("mqtt", logging.CRITICAL + 1)  # the library's: it tells at each attempt what `why` tells once

SCHEMA = 1
BATCH = 50  # events between two marks in the journal; so many can come twice after a crash
LOOK_EVERY = 0.5  # seconds between looks for new events
ANSWER = 10.0  # seconds for the broker to acknowledge
KEEP_ALIVE = 30  # seconds without a sign of life until the broker publishes the last will, about
FIRST, MOST = 1.0, 60.0  # seconds between attempts to connect

_REFUSED = {
    1: "it does not speak MQTT 3.1.1",
    2: "it refuses mqtt.client_id",
    3: "it is not available",
    4: "it refuses mqtt.username or the password in mqtt.password_file",
    5: "it does not allow us to connect; check mqtt.username and its access rules",
    134: "it refuses mqtt.username or the password in mqtt.password_file",
    135: "it does not allow us to connect; check mqtt.username and its access rules",
}


class Publisher:
    """Publishes what waits in the journal, in a thread of its own; `connected` says whether the broker is there.

    The thread has an event loop of its own, a new one for each connection: the client library closes sockets behind a
    loop's back, which must never be the loop that carries associations.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._guard = Guard(settings)
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self.connected = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def renew(self, settings: Settings) -> None:
        """Let through the names of these settings from now on."""
        self._settings, self._guard = settings, Guard(settings)

    def stop(self, seconds: float) -> bool:
        """Publish what waits, say that the node is offline, and end; whether that was done in time (blocking)."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Connect, publish, and connect again when the broker was lost; no end for what the broker does."""
        while not self._stopping.is_set():
            try:
                asyncio.run(self._session())
            except Exception as error:  # noqa: BLE001 - whatever the library or the broker does, events wait
                self._lost(error)
            self._stopping.wait(max(0.01, backoff(self._failures, FIRST, MOST, random.random())))

    def _lost(self, error: Exception) -> None:
        if self.connected or not self._failures:
            log.warning("mqtt-lost", address=self._settings.mqtt.host, error=why(error))
        self.connected = False
        self._failures += 1

    async def _session(self) -> None:
        # What the library forgets of a lost connection is not worth a line: why it was lost is logged once.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        broker = client(self._settings, self._offline("connection lost"))
        try:
            async with broker:
                await self._publish(broker, "status", self._status("node-online"), retain=True)
                self.connected, self._failures = True, 0
                log.info("mqtt-connected", address=self._settings.mqtt.host)
                await _either(self._publish_all(broker), _listen(broker))
                await self._publish(broker, "status", json.loads(str(self._offline("stopped").payload)), retain=True)
        finally:
            _close(broker)
        self.connected = False

    async def _publish_all(self, broker: Client) -> None:
        """Publish in order until told to stop and nothing waits any more."""
        while True:
            waiting = self._journal.unpublished(BATCH)
            acknowledged: list[int] = []
            try:
                for number, event in waiting:
                    topic, document = self.message(number, event)
                    await self._publish(broker, topic, document, retain=topic.startswith("peers/"))
                    acknowledged.append(number)
            finally:
                if acknowledged:
                    marked = self._journal.published(acknowledged)
            if waiting:
                await asyncio.wrap_future(marked)
            elif self._stopping.is_set():
                return
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def _publish(self, broker: Client, topic: str, document: Mapping[str, object], *, retain: bool) -> None:
        payload = json.dumps(document, ensure_ascii=False)
        await broker.publish(f"{prefix(self._settings)}/{topic}", payload, qos=1, retain=retain, timeout=ANSWER)

    def message(self, number: int, event: Event) -> tuple[str, dict[str, object]]:
        """The topic below the prefix, and the document, with every field checked as in a log line."""
        line = {"event": event.name, "project": event.project, "study": event.study_key, **event.facts}
        checked = {name: value for name, value in self._guard(None, "", line).items() if value not in (None, "")}
        document = {"schema": SCHEMA, "id": number, "at": _iso(event.at), **checked, "node": _our_name(self._settings)}
        return _topic(event), document

    def _status(self, name: str, **facts: object) -> dict[str, object]:
        return {"schema": SCHEMA, "event": name, **facts, "node": _our_name(self._settings)}

    def _offline(self, how: str) -> Will:
        document = self._status("node-offline", why=how)
        return Will(f"{prefix(self._settings)}/status", json.dumps(document), qos=1, retain=True)


async def _either(*work: Coroutine[None, None, None]) -> None:
    """Until one of them ends or fails; the others are cancelled."""
    tasks = {asyncio.create_task(each) for each in work}
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _close(broker: Client) -> None:
    """The library leaves the socket open when the broker accepts the connection and then does not answer."""
    inner = getattr(broker, "_client", None)
    socket = inner.socket() if inner is not None else None
    if socket is not None:
        socket.close()


async def _listen(broker: Client) -> None:
    """We subscribe to nothing: this ends with the exception that says how the connection was lost."""
    async for _ in broker.messages:
        pass


def client(settings: Settings, will: Will | None = None, *, name: str = "") -> Client:
    """A client for the configured broker, not yet connected. Raises ConfigError for its files.

    A broker knows one connection per client: one beside the node's needs a `name`.
    """
    mqtt = settings.mqtt
    return Client(
        str(mqtt.host),
        mqtt.reached_at,
        identifier=(mqtt.client_id or f"dicomnode-{_level(settings.node.ae_title)}") + name,
        username=mqtt.username,
        password=_password(mqtt.password_file) if mqtt.password_file else None,
        will=will,
        keepalive=KEEP_ALIVE,
        timeout=ANSWER,
        tls_context=_tls(mqtt) if mqtt.tls == "on" else None,
        logger=_unheard,
    )


def _password(path: Path) -> str:
    """The first line of the file, which nobody else may read."""
    try:
        open_to_others = disk.open_to_others(path, path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"mqtt.password_file {path} cannot be read ({type(error).__name__})") from None
    if open_to_others:
        raise ConfigError(f"mqtt.password_file {path} can be read by others", f"run chmod 600 {path}")
    return text.split("\n", 1)[0].rstrip("\r")


def _tls(mqtt: MqttSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=mqtt.ca_file)
        if mqtt.cert_file is not None:
            context.load_cert_chain(mqtt.cert_file, mqtt.cert_key_file, password="")
    except OSError as error:
        raise ConfigError(
            f"mqtt.ca_file, cert_file or cert_key_file cannot be used ({type(error).__name__})",
            "they must be PEM files that this user can read",
        ) from None
    return context


def why(error: Exception) -> str:
    """What is wrong with the broker or our way to it, in words that name what to change."""
    code = getattr(error, "rc", None) if isinstance(error, MqttCodeError) else None
    number = getattr(code, "value", code)
    if isinstance(error, MqttConnectError) and number in _REFUSED:
        return _REFUSED[number]
    if not isinstance(error, MqttError | DicomnodeError | OSError):
        return type(error).__name__
    text = re.sub(r"\[(Errno|code:)\s?-?\d+\]\s*", "", str(error))
    if text.startswith(("Disconnected", "The client is not currently connected", "The connection was lost")):
        return "the connection to it was lost"
    if "timed out" in text:
        return "it does not answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate does not check; name whom to trust in mqtt.ca_file, and the broker as it does itself"
    if "SSL" in text:
        return "it does not speak TLS as we do; check mqtt.port and mqtt.tls"
    return text or type(error).__name__


def prefix(settings: Settings) -> str:
    """What all topics begin with."""
    return settings.mqtt.topic or f"dicomnode/{_level(settings.node.ae_title)}"


def _topic(event: Event) -> str:
    if event.study_key:
        return f"projects/{event.project}/studies/{event.study_key}"
    if event.project:
        return f"projects/{event.project}/instances"
    peer = event.facts.get("destination") or event.facts.get("source") or event.facts.get("peer")
    return f"peers/{_level(str(peer))}" if peer else "events"


def _level(name: str) -> str:
    """A name as one level of a topic."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _our_name(settings: Settings) -> str:
    return settings.node.ae_title


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
