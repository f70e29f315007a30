"""TLS of the SCP, the sender and the queries: who is trusted, who is who, and who wastes everybody's time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from keeper import EXPLICIT, QUICK, STORAGE, Keeper, peer, serving, until
from peers import dcmtk
from peers.scripted import Acceptor
from test_scp_hostile import calling

from dicomnode.dimse import query
from dicomnode.dimse.door import Door
from dicomnode.dimse.scp import Limits
from dicomnode.dimse.sender import Patience, Sender, echo
from dicomnode.dimse.tls import client_context, fingerprint, matches, names, server_context
from dicomnode.errors import ConfigError, DicomnodeError, PeerUnreachable
from dicomnode.model import Peer, PeerTls

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
