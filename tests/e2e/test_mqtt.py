"""Events by MQTT: everything arrives, whatever the broker does; nothing waits for it; nothing identifies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
import synthetic
import trustme
from peers import dcmtk, raw
from peers.mosquitto import Mosquitto
from peers.process import HOST, until

import dicomnode

SCHEMA = json.loads((Path(dicomnode.__file__).parent / "observe" / "event.schema.json").read_text())
TOPIC = "dicomnode/DICOMNODE"


class Listener:
    """Subscribes to everything of the node; it has a session, so that the broker keeps nothing from it."""

    def __init__(self, port: int):
        self.messages: list[tuple[str, dict[str, Any], bool]] = []
        self._lock = threading.Lock()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"listener{time.monotonic_ns()}")
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/#", qos=1)
        self._client.connect(HOST, port)
        self._client.loop_start()

    def _take(self, client: object, data: object, message: paho.MQTTMessage) -> None:
        document = json.loads(message.payload)
        jsonschema.validate(document, SCHEMA)
        with self._lock:
            self.messages.append((message.topic.removeprefix(f"{TOPIC}/"), document, message.retain))

    def names(self) -> list[str]:
        """The events in their order, each id once."""
        with self._lock:
            documents = {document.get("id", -n): document for n, (_, document, _) in enumerate(self.messages)}
        return [document["event"] for document in documents.values()]

    def stop(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


@pytest.fixture
def listen(programs: ExitStack) -> Callable[[int], Listener]:
    def start(port: int) -> Listener:
        listener = Listener(port)
        programs.callback(listener.stop)
        return listener

    return start


def settings(port: int, **more: Any) -> dict[str, Any]:
    return {"settings": {"mqtt": {"host": HOST, "port": port, **more}}, "quiet": "300ms"}


WHOLE_LIFE = ["study-receiving", "study-complete", "study-forwarding", "study-forwarded", "study-confirmed"]


def test_a_study_tells_its_life(way, mosquitto, listen, write_files):
    listener = listen(mosquitto.port)
    chain = way(**settings(mosquitto.port))
    dcmtk.storescu(chain.port, write_files(synthetic.series(3)))
    chain.node.wait_settled(1)
    until(lambda: set(WHOLE_LIFE) <= set(listener.names()), what="the whole life")
    names = [name for name in listener.names() if name.startswith("study-")]
    assert names == WHOLE_LIFE
    (study,) = chain.node.studies()
    topics = {topic for topic, document, _ in listener.messages if document["event"].startswith("study-")}
    assert topics == {f"projects/default/studies/{study['study_key']}"}
    confirmed = next(document for _, document, _ in listener.messages if document["event"] == "study-confirmed")
    assert confirmed["stored"] == 3
    assert confirmed["node"] == "DICOMNODE"
    assert "delivery-sent" in listener.names()


def test_a_broker_that_dies_delays_nothing_and_loses_nothing(way, mosquitto, programs, tmp_path, listen, write_files):
    first = listen(mosquitto.port)
    chain = way(**settings(mosquitto.port))
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2, 1), "one"))
    chain.node.wait_settled(1)
    until(lambda: "study-confirmed" in first.names(), what="the first study's events")
    mosquitto.kill()
    until(lambda: bool(chain.node.events("mqtt-lost")), 20)
    assert chain.node.events("mqtt-lost")[0]["error"] == "the connection to it was lost"
    began = time.monotonic()
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2, 2), "two"))
    chain.node.wait_settled(2)
    assert time.monotonic() - began < 10
    chain.node.kill()
    chain.node.restart()
    again = programs.enter_context(Mosquitto(tmp_path / "again", port=mosquitto.port))
    second = listen(again.port)
    until(lambda: "study-confirmed" in second.names(), 90, "the second study's events")
    assert [name for name in second.names() if name.startswith("study-")] == WHOLE_LIFE
    assert chain.node.events("mqtt-lost")


def test_the_node_is_online_until_it_is_not(way, mosquitto, listen):
    listener = listen(mosquitto.port)
    chain = way(**settings(mosquitto.port))
    until(lambda: "node-online" in listener.names(), what="online")
    chain.node.kill()
    until(lambda: "node-offline" in listener.names(), what="the last will")
    chain.node.restart()
    until(lambda: listener.names()[-1] == "node-online", what="online again")
    chain.node.terminate()
    until(lambda: listener.names()[-1] == "node-offline", what="a word at the end")
    late = listen(mosquitto.port)
    until(lambda: late.messages, what="the retained state")
    assert late.messages[0][0] == "status"
    assert (late.messages[0][1]["event"], late.messages[0][1]["why"], late.messages[0][2]) == (
        "node-offline",
        "stopped",
        True,
    )


def test_a_destination_goes_down_and_comes_back(node, storescp, free_port, mosquitto, listen, write_files):
    port = free_port()
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}
    listener = listen(mosquitto.port)
    both = {"mqtt": {"host": HOST, "port": mosquitto.port}, "forward": {"first": "200ms", "most": "1s"}}
    made = node(peers, quiet="300ms", settings=both).start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(1)))
    until(lambda: "destination-down" in listener.names(), what="down")
    storescp("research", port=port)
    until(lambda: "destination-up" in listener.names(), what="up")
    topic = {topic for topic, document, _ in listener.messages if document["event"].startswith("destination")}
    assert topic == {"peers/research"}


def test_nothing_identifies(way, mosquitto, listen):
    listener = listen(mosquitto.port)
    chain = way(**settings(mosquitto.port))
    (cut,), (good,) = synthetic.series(1, 1), synthetic.series(1, 2)
    assert raw.store(chain.port, [cut[:-1000], good]) == [0, 0]
    until(lambda: {"instance-withheld", "study-confirmed"} <= set(listener.names()), what="both")
    told = json.dumps([document for _, document, _ in listener.messages], ensure_ascii=False)
    for needle in (*synthetic.PERSON.needles(), synthetic.ROOT):
        assert needle not in told
    withheld = next(document for _, document, _ in listener.messages if document["event"] == "instance-withheld")
    assert withheld["reason"]


@pytest.fixture
def guarded(tmp_path: Path, programs: ExitStack) -> tuple[Mosquitto, Path, Path]:
    """A broker with TLS and one user; its authority's certificate and a file with the password."""
    authority = trustme.CA()
    server = authority.issue_cert(HOST)
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("s3cret wörd\n")
    broker = programs.enter_context(
        Mosquitto(tmp_path / "guarded", certificate=tmp_path / "server.pem", user=("node", "s3cret wörd"))
    )
    return broker, tmp_path / "ca.pem", secret


def test_tls_and_a_password(way, guarded, write_files):
    broker, ca, secret = guarded
    chain = way(
        **settings(broker.port, tls="on", ca_file=str(ca), username="node", password_file=str(secret)),
    )
    until(lambda: chain.node.events("mqtt-connected"), what="the connection")
    assert "s3cret" not in chain.node.output()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password_file": None, "username": "other"}, "mqtt.username"),
        ({"ca_file": None}, "its certificate does not check"),
        ({"tls": "off", "ca_file": None}, ""),
    ],
)
def test_what_is_wrong_is_said_once(way, guarded, wrong, said):
    broker, ca, secret = guarded
    right = {"tls": "on", "ca_file": str(ca), "username": "node", "password_file": str(secret)}
    chosen = {key: value for key, value in {**right, **wrong}.items() if value is not None}
    chain = way(**settings(broker.port, **chosen))
    until(lambda: chain.node.events("mqtt-lost"), what="the trouble")
    time.sleep(2)
    (line,) = chain.node.events("mqtt-lost")
    assert said in line["error"]
    assert "withheld" not in line["error"]
