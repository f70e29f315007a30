"""TLS 1.2 and later, both ways (PS3.15 B.12): contexts from PEM files, and what a certificate says of its owner."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.errors import ConfigError
from dicomnode.model import PeerTls

if TYPE_CHECKING:
    from cryptography import x509

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL"  # for TLS 1.2; those of 1.3 are all good

_REASONS = {
    "CERTIFICATE_VERIFY_FAILED": "the certificate does not verify",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate was shown",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "HTTP_REQUEST": "the other side does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the other side speaks older TLS only",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the other side speaks older TLS only",
    "NO_SHARED_CIPHER": "no cipher in common",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the other side refused the handshake",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other side does not trust our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other side does not trust our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side wants a certificate of ours",
}


def why(error: OSError) -> str:
    """Why a handshake failed, for people."""
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None)
        return _REASONS.get(reason, "the handshake failed") if reason else error.strerror or "the handshake failed"
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return "the handshake took too long"
    return "the connection was closed"


def server_context(certificate: Path, key: Path | None, ca: Path) -> ssl.SSLContext:
    """For those who call us; they must show a certificate that `ca` signed. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    _show(context, certificate, key)
    _trust(context, ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: PeerTls) -> ssl.SSLContext:
    """For a call to a peer, whose certificate is judged in the handshake. Raises ConfigError."""
    context = _Pinning(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    if tls.certificate is not None:
        _show(context, tls.certificate, tls.key)
    if tls.fingerprint:
        context.pin(tls.fingerprint)
    if tls.ca is not None:
        _trust(context, tls.ca)
    return context


def matches(tls: PeerTls, certificate: bytes) -> bool:
    """Whether a certificate (DER), whose signature was checked, is this peer's."""
    if tls.fingerprint:
        return fingerprint(certificate) == tls.fingerprint
    return tls.name.lower() in names(certificate)


def fingerprint(certificate: bytes) -> str:
    """The hex SHA-256 of a certificate (DER)."""
    return hashlib.sha256(certificate).hexdigest()


def names(certificate: bytes) -> frozenset[str]:
    """Host names and addresses that a certificate (DER) is for, in lower case; its common name where it has none."""
    from cryptography import x509  # here, for most nodes never read a certificate
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        alternative = _alternative_names(parsed)
        if alternative:
            return alternative
        return frozenset(str(each.value).lower() for each in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    except ValueError:
        return frozenset()


def _alternative_names(certificate: x509.Certificate) -> frozenset[str]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    hosts = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset(str(name).lower() for name in (*hosts, *addresses))


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key, password=b"")  # without a password nobody is asked for one
    except FileNotFoundError:
        missing = key if key and certificate.exists() else certificate
        raise ConfigError(f"the TLS file {missing} does not exist", "name one that does") from None
    except OSError:
        what = f"the TLS certificate {certificate} with its key cannot be used"
        raise ConfigError(what, "give a PEM certificate and its key without a password") from None


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except FileNotFoundError:
        raise ConfigError(f"the TLS file {ca} does not exist", "name one that does") from None
    except OSError:
        raise ConfigError(f"the authorities in {ca} cannot be used", "give PEM certificates") from None


class _Pinning(ssl.SSLContext):
    """A client's context that may want one certificate alone."""

    fingerprint = ""

    def pin(self, wanted: str) -> None:
        """Take no other certificate; whoever signed it, and whatever name it has."""
        self.fingerprint = wanted
        self.check_hostname = False
        self.verify_mode = ssl.CERT_NONE
        self.sslobject_class = _PinnedObject
        self.sslsocket_class = _PinnedSocket


def _check_pin(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
    assert isinstance(connection.context, _Pinning)
    shown = connection.getpeercert(True)
    if shown is None or fingerprint(shown) != connection.context.fingerprint:
        raise ssl.SSLError(1, "the certificate has another fingerprint")


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check_pin(self)


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check_pin(self)
