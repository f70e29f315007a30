"""TLS of the SCP, the sender and the queries: who is trusted, who is who, and who wastes everybody's time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from keeper import EXPLICIT, QUICK, STORAGE, Keeper, peer, serving, until
from peers import dcmtk
from peers.scripted import Acceptor
from structlog.testing import capture_logs
from test_scp_hostile import calling

from dicomnode.dimse import query
from dicomnode.dimse.door import Door
from dicomnode.dimse.scp import Limits
from dicomnode.dimse.sender import Patience, Sender, echo
from dicomnode.dimse.tls import client_context, fingerprint, matches, names, server_context
from dicomnode.errors import ConfigError, DicomnodeError, PeerUnreachable
from dicomnode.model import Peer, PeerTls
from dicomnode.observe.guard import Guard

SHORT = Patience(connect=2, associate=2, stall=2, answer=2, release=1)
AUTHORITY, STRANGERS = trustme.CA(), trustme.CA()


class Files:
    """PEM files of an authority and of certificates, one for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        AUTHORITY.cert_pem.write_to_path(str(self.ca))

    def certificate(self, name: str, authority: trustme.CA = AUTHORITY) -> Path:
        """Certificate and key in one file."""
        path = self.folder / f"{name}.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def tls(self, name: str = "127.0.0.1", own: str | None = "node.example", **changes: object) -> PeerTls:
        """What is known of a peer of that name, and our own certificate."""
        certificate = None if own is None else self.certificate(own)
        return replace(PeerTls(self.ca, certificate, None, "", name), **changes)  # type: ignore[arg-type]

    def server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        return server_context(self.certificate(name), None, self.ca)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def known(port: int, tls: PeerTls) -> Peer:
    return replace(peer(port), tls=tls)


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        path.read_text()[path.read_text().index("-----BEGIN CERT") :].split("END CERT")[0] + "END CERTIFICATE-----\n"
    )


async def test_sender_and_query_over_mutual_tls(files: Files) -> None:
    keeper = Keeper()
    async with serving(keeper, Limits(whole=100_000), tls=files.server()) as (_, port):
        target = known(port, files.tls())
        sender = await Sender.connect(target, "NODE", [(STORAGE, EXPLICIT)], patience=SHORT)
        assert await sender.store(STORAGE, "1.2", EXPLICIT, [bytes(3_000_000)]) == 0
        await sender.release()
        await asyncio.to_thread(query.echo, target, "NODE")
    assert {names(each or b"") for each in keeper.certificates} == {frozenset({"node.example"})}
    assert [len(data) for _, data in keeper.stored] == [3_000_000]


@pytest.mark.parametrize("how", ["no certificate", "another authority's", "in clear"])
async def test_who_is_not_trusted_gets_no_association(files: Files, how: str) -> None:
    keeper = Keeper()
    async with serving(keeper, tls=files.server()) as (_, port):
        tls: PeerTls | None = files.tls(own=None)
        if how == "another authority's":
            tls = replace(files.tls(), certificate=files.certificate("stranger", STRANGERS))
        target = replace(peer(port), tls=None if how == "in clear" else tls)
        with pytest.raises(PeerUnreachable):
            await echo(target, "NODE", patience=SHORT)
        with pytest.raises(DicomnodeError):
            await asyncio.to_thread(query.echo, target, "NODE", silence=3)
    assert keeper.certificates == []


async def test_a_server_that_is_not_the_peer_gets_nothing(files: Files) -> None:
    async with serving(Keeper(), tls=files.server("other.example")) as (_, port):
        for wrong in (files.tls(), files.tls("third.example"), files.tls(fingerprint="0" * 64)):
            with pytest.raises(PeerUnreachable, match="certificate"):
                await echo(known(port, wrong), "NODE", patience=SHORT)
            with pytest.raises(DicomnodeError):
                await asyncio.to_thread(query.echo, known(port, wrong), "NODE", silence=3)
        right = files.tls(fingerprint=fingerprint(der(files.folder / "other.example.pem")), ca=None)
        assert await echo(known(port, files.tls("other.example")), "NODE", patience=SHORT) == 0
        assert await echo(known(port, right), "NODE", patience=SHORT) == 0
        await asyncio.to_thread(query.echo, known(port, right), "NODE", silence=3)


def test_what_a_certificate_says(files: Files) -> None:
    shown = der(files.certificate("Pacs.Example"))
    assert names(shown) == {"pacs.example"}
    assert matches(files.tls("PACS.example"), shown)
    assert not matches(files.tls("example"), shown)
    assert not matches(files.tls("pacs.example", fingerprint="0" * 64), shown)
    assert matches(files.tls("anything", fingerprint=fingerprint(shown)), shown)
    assert names(b"no certificate") == frozenset()


@pytest.mark.parametrize("said", [b"", b"\x16\3\1\2\0\1\0\1\xfc\3\3", b"GET / HTTP/1.1\r\n\r\n"])
async def test_silent_callers_and_their_like_harm_nobody(files: Files, said: bytes) -> None:
    """More of them than handshakes are allowed; those in order get through meanwhile, the others are closed in time."""
    limits = replace(QUICK, associations=8, handshake=1.5)
    async with serving(Keeper(), limits, tls=files.server()) as (server, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in silent:
            writer.write(said)
        begin = asyncio.get_running_loop().time()
        assert await echo(known(port, files.tls()), "NODE", patience=SHORT) == 0
        assert asyncio.get_running_loop().time() - begin < 1.5
        (door,) = server._listeners
        assert isinstance(door, Door)
        assert door.handshakes <= 16
        await until(lambda: door.handshakes == 0, 15)
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):  # closed one way or the other, with an alert or without
                await asyncio.wait_for(reader.read(), 10)
            writer.close()
        assert server.associations == 0


async def test_a_silent_server_is_left_in_time(files: Files) -> None:
    with Acceptor([5.0]) as acceptor:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(PeerUnreachable):
            await echo(known(acceptor.port, files.tls()), "NODE", patience=replace(SHORT, connect=0.5))
        assert asyncio.get_running_loop().time() - begin < 2


async def test_older_tls_is_not_spoken(files: Files) -> None:
    async with serving(Keeper(), tls=files.server()) as (_, port):
        old = client_context(files.tls())
        with pytest.deprecated_call():
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(PeerUnreachable):
            await echo(peer(port), "NODE", tls=old, patience=SHORT)


def test_files_that_cannot_be_used_are_named(files: Files) -> None:
    garbage = files.folder / "garbage.pem"
    garbage.write_text("nothing")
    good = files.certificate("a.example")
    for certificate, ca, words in (
        (files.folder / "none.pem", files.ca, "none.pem does not exist"),
        (garbage, files.ca, "garbage.pem with its key cannot be used"),
        (good, files.folder / "none.pem", "none.pem does not exist"),
        (good, garbage, "garbage.pem cannot be used"),
    ):
        with pytest.raises(ConfigError, match=words):
            server_context(certificate, None, ca)


async def test_clear_and_tls_side_by_side(files: Files) -> None:
    keeper = Keeper()
    async with serving(keeper) as (server, port):
        second = await server.listen("127.0.0.1", 0, files.server())
        assert (await asyncio.to_thread(dcmtk.echo, port)).code == 0
        assert await echo(known(second, files.tls()), "NODE", patience=SHORT) == 0
        assert [each is None for each in keeper.certificates] == [True, False]
        async with calling(port) as client:
            await client.open()
            await server.drain(0.1)
        assert not server.listening


LONG_AGO = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2021, 1, 1, tzinfo=UTC)}
NOT_YET = {"not_before": datetime(2990, 1, 1, tzinfo=UTC), "not_after": datetime(2991, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("name", "authority", "dates", "said"),
    [
        ("127.0.0.1", AUTHORITY, LONG_AGO, "the certificate has expired; have it renewed there"),
        ("127.0.0.1", AUTHORITY, NOT_YET, "is not valid yet; compare the clocks"),
        ("127.0.0.1", STRANGERS, {}, "is not known here; enter that authority in the peer's tls.ca"),
        ("other.example", AUTHORITY, {}, "has another name; enter a name that is in it as the peer's tls.name"),
    ],
)
async def test_what_is_wrong_with_a_servers_certificate_is_said_with_what_to_do(files, name, authority, dates, said):
    """By the sender, by the queries, and so by dicomnode check, which asks for C-ECHO as they do."""
    shown = files.folder / "shown.pem"
    authority.issue_cert(name, **dates).private_key_and_cert_chain_pem.write_to_path(str(shown))
    async with serving(Keeper(), tls=server_context(shown, None, files.ca)) as (_, port):
        with pytest.raises(PeerUnreachable, match=said):
            await echo(known(port, files.tls()), "NODE", patience=SHORT)
        with pytest.raises(PeerUnreachable, match=said):
            await asyncio.to_thread(query.echo, known(port, files.tls()), "NODE", silence=3)


async def test_who_is_asked_for_a_certificate_and_has_none_is_told_so(files: Files) -> None:
    """A server of TLS 1.3 says so behind the handshake, and may have closed the connection before that is read."""
    async with serving(Keeper(), tls=files.server()) as (_, port):
        with pytest.raises(PeerUnreachable, match=r"certificate"):
            await echo(known(port, files.tls(own=None)), "NODE", patience=SHORT)
        with pytest.raises(PeerUnreachable, match=r"certificate"):
            await asyncio.to_thread(query.echo, known(port, files.tls(own=None)), "NODE", silence=3)


@pytest.mark.parametrize(
    ("authority", "dates", "why"),
    [
        (AUTHORITY, LONG_AGO, "the certificate has expired"),
        (STRANGERS, {}, "the certificate is of an authority that is not known here"),
    ],
)
async def test_what_is_wrong_with_a_callers_certificate_is_logged_with_what_to_do(files, authority, dates, why):
    own = files.folder / "own.pem"
    authority.issue_cert("node.example", **dates).private_key_and_cert_chain_pem.write_to_path(str(own))
    async with serving(Keeper(), tls=files.server()) as (_, port):
        with capture_logs() as lines:
            with pytest.raises(PeerUnreachable):
                await echo(known(port, replace(files.tls(), certificate=own)), "NODE", patience=SHORT)
            await until(lambda: any(line["event"] == "tls-failed" for line in lines), 5)
    (line,) = [line for line in lines if line["event"] == "tls-failed"]
    assert line["why"] == why
    assert Guard()(None, "", line)["hint"] == line["hint"] != ""


async def test_tls_where_nothing_is_encrypted_is_called_that(files: Files) -> None:
    async with serving(Keeper()) as (_, port):
        with capture_logs() as lines:
            with pytest.raises(PeerUnreachable):
                await echo(known(port, files.tls()), "NODE", patience=SHORT)
            await until(lambda: any(line["event"] == "protocol-error" for line in lines), 5)
    assert [line["why"] for line in lines if line["event"] == "protocol-error"] == [
        "it speaks TLS, and this way is in clear"
    ]


async def test_a_renewed_context_counts_from_the_next_handshake_on(files: Files) -> None:
    keeper = Keeper()
    async with serving(keeper, tls=files.server()) as (server, port):
        client = await Sender.connect(known(port, files.tls()), "NODE", [(STORAGE, EXPLICIT)], patience=SHORT)
        server.renew_tls(files.server("other.example"))
        with pytest.raises(PeerUnreachable, match="another name"):
            await echo(known(port, files.tls()), "NODE", patience=SHORT)
        assert await echo(known(port, files.tls("other.example")), "NODE", patience=SHORT) == 0
        assert await client.store(STORAGE, "1.2", EXPLICIT, [bytes(3000)]) == 0, "those that are open go on"
        await client.release()
