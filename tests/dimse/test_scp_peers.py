"""The SCP against real senders: what they say arrives byte for byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import images
import pytest
import synthetic
from keeper import EXPLICIT, STORAGE, Keeper, serving, until
from peers import dcmtk
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from dicomnode.dimse.scp import Limits, Rejection

BIG_ENDIAN = "1.2.840.10008.1.2.2"

WriteFiles = Callable[..., list[Path]]


def sent(paths: list[Path]) -> dict[str, tuple[str, bytes]]:
    return {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): images.split(path.read_bytes()) for path in paths
    }


async def test_echoscu() -> None:
    async with serving(Keeper()) as (server, port):
        assert (await asyncio.to_thread(dcmtk.echo, port)).code == 0
        assert server.associations == 0


@pytest.mark.parametrize("program", ["dcmsend", "storescu"])
async def test_dcmtk_stores_what_it_has(program: str, write_files: WriteFiles) -> None:
    paths = write_files(synthetic.series(12))
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        result = await asyncio.to_thread(getattr(dcmtk, program), port, paths)
        assert result.statuses == [0] * 12
        assert keeper.data_sets == sent(paths)
        assert keeper.ends == ["released"]
    origin = keeper.stored[0][0].origin
    assert (origin.calling, origin.called, origin.address) == ("STAGING", "DICOMNODE", "127.0.0.1")


async def test_real_files_of_every_transfer_syntax() -> None:
    paths = [path for path in images.sendable_files() if images.split(path.read_bytes())[0] != BIG_ENDIAN]
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        result = await asyncio.to_thread(dcmtk.dcmsend, port, paths)
    assert len(keeper.data_sets) > 20
    assert set(result.statuses) == {0}
    assert len({syntax for syntax, _ in keeper.data_sets.values()}) > 3
    pixels = {pixel_data(*images.split(path.read_bytes())) for path in paths}
    assert {pixel_data(*stored) for stored in keeper.data_sets.values()} <= pixels


def pixel_data(syntax: str, data: bytes) -> bytes:
    """The pixel data of a data set, empty where it has none: DCMTK encodes the rest anew."""
    return bytes(images.parse(images.part10(data, syntax, STORAGE, "1.2")).get("PixelData", b""))


async def test_a_sender_with_nagles_algorithm_is_not_slow(write_files: WriteFiles) -> None:
    paths = write_files(synthetic.series(100))
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        begin = asyncio.get_running_loop().time()
        process = await asyncio.create_subprocess_exec("dcmsend", "127.0.0.1", str(port), *map(str, paths))
        assert await process.wait() == 0
        seconds = asyncio.get_running_loop().time() - begin
    assert len(keeper.stored) == 100
    assert seconds < 2.5, "with delayed acknowledgements it would take 4 s at least"


async def test_four_associations_at_once(write_files: WriteFiles) -> None:
    folders = [write_files(synthetic.series(10, study), f"study{study}") for study in range(4)]
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        results = await asyncio.gather(*(asyncio.to_thread(dcmtk.dcmsend, port, paths) for paths in folders))
    assert all(result.statuses == [0] * 10 for result in results)
    assert keeper.data_sets == sent([path for paths in folders for path in paths])
    assert {origin.association for origin in (received.origin for received, _ in keeper.stored)} == {1, 2, 3, 4}


async def test_a_large_instance_is_streamed_in_chunks(write_files: WriteFiles) -> None:
    (path,) = write_files([images.written(synthetic.multi_frame(5))])
    keeper = Keeper()
    async with serving(keeper, Limits(whole=1 << 20)) as (_, port):
        result = await asyncio.to_thread(dcmtk.dcmsend, port, [path])
    assert result.statuses == [0]
    assert keeper.data_sets == sent([path])
    (stream,) = keeper.streams
    assert stream.end == "finished"
    assert max(map(len, stream.chunks)) <= 1 << 20


async def test_the_status_of_the_service_is_the_answer(write_files: WriteFiles) -> None:
    paths = write_files(synthetic.series(2))
    async with serving(Keeper(status=0xA700)) as (_, port):
        result = await asyncio.to_thread(dcmtk.storescu, port, paths)
    assert set(result.statuses) == {0xA700}


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ((1, 1, 1), ("Rejected Permanent", "Service User", "No Reason")),
        ((1, 1, 3), ("Rejected Permanent", "Service User", "Calling AE Title Not Recognized")),
        ((1, 1, 7), ("Rejected Permanent", "Service User", "Called AE Title Not Recognized")),
        ((2, 3, 2), ("Rejected Transient", "Service Provider (Presentation Related)", "Local Limit Exceeded")),
    ],
)
async def test_rejections_in_dcmtks_words(codes: tuple[int, int, int], words: tuple[str, ...]) -> None:
    keeper = Keeper(refused={"STAGING": Rejection(*codes, "because")})
    async with serving(keeper) as (server, port):
        result = await asyncio.to_thread(dcmtk.echo, port)
        assert result.rejection == words
        assert server.associations == 0
    assert keeper.ends == []


PRIVATE_CLASS = generate_uid()
PRIVATE_SYNTAX = generate_uid()


def associated(port: int, *contexts: tuple[str, list[str]]) -> dict[str, tuple[int, str]]:
    """What pynetdicom was answered: abstract syntax to result and transfer syntax."""
    ae = AE("STAGING")
    association = ae.associate("127.0.0.1", port, [build_context(*context) for context in contexts], "DICOMNODE")
    assert association.is_established
    association.release()
    answered = [*association.accepted_contexts, *association.rejected_contexts]
    return {
        str(context.abstract_syntax): (
            context.result or 0,
            str(context.transfer_syntax[0] if context.transfer_syntax else ""),
        )
        for context in answered
    }


async def test_negotiation_takes_the_requestors_first_known_syntax_and_refuses_nothing_storable() -> None:
    find = str(PatientRootQueryRetrieveInformationModelFind)
    contexts = [
        (PRIVATE_CLASS, [EXPLICIT]),
        ("1.2.840.10008.5.1.4.1.1.4", [PRIVATE_SYNTAX]),
        (STORAGE, [PRIVATE_SYNTAX, str(JPEGBaseline8Bit), EXPLICIT]),
        ("1.2.840.10008.5.1.4.1.1.7", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2"]),
        (find, [EXPLICIT]),
        ("1.2.840.10008.1.1", ["1.2.840.10008.1.2"]),
    ]
    async with serving(Keeper()) as (_, port):
        answered = await asyncio.to_thread(associated, port, *contexts)
    assert answered[PRIVATE_CLASS] == (0, EXPLICIT)
    assert answered["1.2.840.10008.5.1.4.1.1.4"] == (0, PRIVATE_SYNTAX)
    assert answered[STORAGE] == (0, str(JPEGBaseline8Bit))
    assert answered["1.2.840.10008.5.1.4.1.1.7"] == (0, "1.2.840.10008.1.2")
    assert answered[find][0] == 3
    assert answered["1.2.840.10008.1.1"] == (0, "1.2.840.10008.1.2")


async def test_pynetdicom_stores_and_asks_for_what_we_do_not_do(write_files: WriteFiles) -> None:
    (path,) = write_files(synthetic.series(1))

    def talk(port: int) -> list[int]:
        ae = AE("STAGING")
        ae.add_requested_context(STORAGE, EXPLICIT)
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", port, ae_title="DICOMNODE")
        assert association.is_established
        statuses = [association.send_c_echo().Status, association.send_c_store(dcmread(path)).Status]
        statuses.append(association.send_c_echo().Status)
        association.abort()
        return statuses

    keeper = Keeper()
    async with serving(keeper) as (_, port):
        assert await asyncio.to_thread(talk, port) == [0, 0, 0]
        assert keeper.data_sets == sent([path])
        await until(lambda: keeper.ends == ["aborted"])


async def test_tls_with_dcmtk(tmp_path: Path, write_files: WriteFiles) -> None:
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    paths = write_files([images.written(synthetic.multi_frame(3)), *synthetic.series(3)])
    keeper = Keeper()
    async with serving(keeper, Limits(whole=1 << 20), tls=context) as (_, port):
        options = ["+tla", "+cf", str(tmp_path / "ca.pem"), "-R"]
        result = await asyncio.to_thread(dcmtk.storescu, port, paths, options=options)
    assert result.statuses == [0] * 4
    assert keeper.data_sets == sent(paths)
