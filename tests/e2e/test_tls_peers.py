"""TLS end to end: DCMTK sends over it, the node forwards over it, and a certificate speaks for its own peer alone."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import images
import pytest
import synthetic
import trustme
from chain import Way
from peers import dcmtk
from peers.process import HOST, listens, until


class Site:
    """An authority, and certificates with their keys as PEM files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def files(self, name: str, authority: trustme.CA | None = None) -> tuple[Path, Path]:
        """Key and certificate, in the order in which DCMTK wants them."""
        issued = (authority or self.authority).issue_cert(name)
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        return key, certificate

    def options(self, name: str, authority: trustme.CA | None = None) -> list[str]:
        """What makes a program of DCMTK speak TLS under that name."""
        return ["+tls", *map(str, self.files(name, authority)), "+cf", str(self.ca)]

    def peer(self, name: str) -> dict[str, str]:
        """The peer's section in the configuration."""
        return {"ca": str(self.ca), "name": name}

    def node(self, port: int) -> dict[str, object]:
        """The node's section."""
        key, certificate = self.files("node.example")
        return {"port": port, "certificate": str(certificate), "key": str(key), "ca": str(self.ca)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def send(way: Way, port: int, files: list[Path], options: list[str]) -> dcmtk.Result:
    return dcmtk.storescu(port, files, options=["-R", *options])


def test_both_ways_over_tls_with_dcmtk(site, node, storescp, free_port, write_files):
    research = storescp(options=site.options("research.example"))
    port = free_port()
    settings = {
        "node": {"tls": site.node(port)},
        "peers": {"staging": {"tls": site.peer("staging.example")}, "research": {"tls": site.peer("research.example")}},
    }
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
    way = Way(node(peers, settings=settings).start(), research)
    sent = list(synthetic.series(3))
    files = write_files(sent)

    assert "Rejected" in send(way, way.port, files, []).output, "staging has a certificate and must not call in clear"
    assert "Rejected" in send(way, port, files, site.options("research.example")).output, "not staging's certificate"
    assert send(way, port, files, site.options("stranger.example", trustme.CA())).code != 0
    assert way.node.studies() == []

    assert send(way, port, files, site.options("staging.example")).statuses == [0] * 3
    way.node.wait_settled()
    assert research.data_sets() == way.expect(sent)
    assert dcmtk.echo(way.port, calling="RESEARCH").rejection is not None
    whys = [each["why"] for each in way.node.events("association-rejected")]
    assert whys == ["must call over TLS", "the certificate is not the peer's", "must call over TLS"]
    assert way.node.terminate() == 0


@pytest.mark.parametrize("own", ["other.example", None], ids=["another certificate", "no TLS"])
def test_a_destination_that_is_not_the_peer_gets_nothing(site, node, storescp, free_port, write_files, own):
    research = storescp(options=site.options(own) if own else ())
    settings = {
        "node": {"tls": site.node(free_port())},
        "peers": {"research": {"tls": site.peer("research.example")}},
        "forward": {"first": "100ms", "most": "200ms"},
    }
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
    made = node(peers, settings=settings, quiet="200ms").start()
    assert dcmtk.storescu(made.port, write_files(synthetic.series(1))).statuses == [0]
    until(lambda: len(made.events("delivery-postponed")) >= 2, 20, "attempts")
    expected = "the certificate has another name" if own else "cannot be reached"
    assert expected in made.events("delivery-postponed")[-1]["error"]
    assert research.files() == []


def test_one_port_for_tls_alone(site, node, free_port):
    port = free_port()
    section = {key: value for key, value in site.node(port).items() if key != "port"}
    settings = {"node": {"tls": section}, "peers": {"staging": {"tls": site.peer("staging.example")}}}
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
    made = node(peers, settings=settings).start()
    assert listens(made.port)
    assert dcmtk.echo(made.port, seconds=20).code != 0
    options = ["-R", *site.options("staging.example")]
    result = dcmtk._call("echoscu", made.port, "STAGING", "DICOMNODE", options[1:], 20)
    assert result.code == 0, result.output


def test_files_that_cannot_be_used_are_told_before_anything_else(site, node, free_port):
    section = {**site.node(free_port()), "certificate": str(site.folder / "none.crt")}
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
    made = node(peers, settings={"node": {"tls": section}})
    result = made.command("serve")
    assert result.returncode != 0
    assert "none.crt does not exist" in result.stdout
    assert "Traceback" not in result.stdout


def shown(port: int) -> str:
    return ssl.get_server_certificate((HOST, port), timeout=10)


def test_renewed_files_are_taken_up_by_a_reload_and_damaged_ones_are_not(site, node, free_port, write_files):
    port = free_port()
    section = site.node(port)
    key, certificate = Path(section["key"]), Path(section["certificate"])
    settings = {"node": {"tls": section}, "peers": {"staging": {"tls": site.peer("staging.example")}}}
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
    made = node(peers, settings=settings).start()
    assert shown(port) == certificate.read_text()
    issued = site.authority.issue_cert("node.example")
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    made.process.signal(signal.SIGHUP)
    until(lambda: made.events("configuration-loaded"), 20, "a reload")
    assert shown(port) == certificate.read_text()
    served = certificate.read_text()
    key.write_text("no key")
    made.process.signal(signal.SIGHUP)
    until(lambda: made.events("configuration-kept"), 20, "a refusal")
    assert "cannot be used; give a PEM certificate" in made.events("configuration-kept")[0]["error"]
    assert shown(port) == served
    options = site.options("staging.example")
    assert dcmtk.storescu(port, write_files(synthetic.series(1)), options=["-R", *options]).statuses == [0]


def test_c_move_over_tls_from_a_pacs_that_speaks_nothing_else(site, node, orthanc, storescp, free_port):
    """Orthanc is asked over TLS, wants our certificate, and sends over TLS under its own."""
    research, port, tls_port = storescp(), free_port(), free_port()
    settings = {"node": {"tls": site.node(tls_port)}, "peers": {"staging": {"tls": site.peer("staging.example")}}}
    peers = {"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}
    made = node(peers, settings=settings).start()
    key, certificate = map(str, site.files("staging.example"))
    staging = orthanc(
        "staging",
        port=port,
        settings={
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": certificate,
            "DicomTlsPrivateKey": key,
            "DicomTlsTrustedCertificates": str(site.ca),
            "DicomTlsRemoteCertificateRequired": True,
            "DicomModalities": {
                "node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": tls_port, "UseDicomTls": True}
            },
        },
    )
    assert dcmtk.echo(port, called="STAGING").code != 0, "it speaks TLS only"
    sent = list(synthetic.series(5))
    staging.upload(sent)
    study = str(images.parse(sent[0]).StudyInstanceUID)
    result = made.command("retrieve", "--study", study)
    assert result.returncode == 0, result.stdout
    (settled,) = made.wait_settled()
    assert settled["evidence"].startswith("source lists")
    assert research.data_sets() == Way(made, research).expect(sent)
