"""TLS 1.2 and later, both ways (PS3.15 B.12): contexts from PEM files, and what a certificate says of its owner."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.errors import ConfigError
from dicomnode.model import PeerTls

if TYPE_CHECKING:
    from cryptography import x509

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL"  # for TLS 1.2; those of 1.3 are all good


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a handshake failed, and what to do where we `call` and where we are `called`."""

    why: str
    call: str = "look into its log"
    called: str = "look into the caller's log"


_NO_TLS = Trouble(
    "the other side does not speak TLS",
    "correct the peer's port, or leave its tls out",
    "turn TLS on there, or have it call the port that is in clear",
)
_OLDER = Trouble("the other side speaks older TLS only", *["have it speak TLS 1.2 or later"] * 2)
_UNTRUSTED = Trouble(
    "the other side does not trust our certificate",
    "have it trust the authority of our certificate",
    "have it trust the authority of node.tls.certificate",
)
_STRANGE = Trouble(
    "the certificate is of an authority that is not known here",
    "enter that authority in the peer's tls.ca",
    "enter that authority in node.tls.ca, or have the caller show a certificate of one that is there",
)
_OTHER_NAME = Trouble("the certificate has another name", "enter a name that is in it as the peer's tls.name")
_TOO_LONG = Trouble("the handshake took too long", "check that it runs and speaks TLS at this port")
_OTHER_PIN = Trouble("the certificate has another fingerprint", "compare it with the peer's tls.fingerprint")
_UNKNOWN = Trouble("the handshake failed")
_CLOSED = Trouble("the connection was closed")
_UNVERIFIED = Trouble("the certificate does not verify", *["have it replaced there by one that does"] * 2)

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Trouble(
        "no certificate was shown", called="have the caller show one that an authority in node.tls.ca signed"
    ),
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _OLDER,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLDER,
    "NO_SHARED_CIPHER": Trouble("no cipher in common", *["have it allow ECDHE with AES-GCM"] * 2),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Trouble("the other side refused the handshake"),
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Trouble(
        "the other side says that our certificate has expired", *["renew it"] * 2
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Trouble(
        "the other side wants a certificate of ours", "give the peer's tls.certificate, or node.tls.certificate"
    ),
}
_UNVERIFIED_AS = {  # by OpenSSL's X509_V_ERR numbers
    9: Trouble("the certificate is not valid yet", *["compare the clocks of both machines"] * 2),
    10: Trouble("the certificate has expired", *["have it renewed there"] * 2),
    18: _STRANGE,
    19: _STRANGE,
    20: _STRANGE,
    21: _STRANGE,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}


class _OtherFingerprint(ssl.SSLError):
    pass


def trouble(error: OSError) -> Trouble:
    """Why a handshake failed, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _UNVERIFIED_AS.get(error.verify_code, _UNVERIFIED)
    if isinstance(error, _OtherFingerprint):
        return _OTHER_PIN
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", _UNKNOWN)
    return _TOO_LONG if isinstance(error, ConnectionAbortedError | TimeoutError) else _CLOSED


def server_context(certificate: Path, key: Path | None, ca: Path) -> ssl.SSLContext:
    """For those who call us; they must show a certificate that `ca` signed. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    _show(context, certificate, key)
    _trust(context, ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: PeerTls) -> ClientContext:
    """For a call to a peer, whose certificate is judged in the handshake. Raises ConfigError."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
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


def ends(certificate: Path) -> datetime:
    """Until when the first certificate of a PEM file is valid. Raises ConfigError."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
    except FileNotFoundError:
        raise ConfigError(f"the TLS file {certificate} does not exist", "name one that does") from None
    except (OSError, ValueError):
        raise ConfigError(f"the TLS certificate {certificate} cannot be read", "give PEM certificates") from None


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


def _check_pin(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
    assert isinstance(connection.context, ClientContext)
    wanted = connection.context.fingerprint
    if wanted:
        shown = connection.getpeercert(True)
        if shown is None or fingerprint(shown) != wanted:
            raise _OtherFingerprint(1, "the certificate has another fingerprint")


class _Object(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check_pin(self)


class _Socket(ssl.SSLSocket):
    """Remembers in its context what went wrong: pynetdicom does not tell."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
            _check_pin(self)
        except OSError as error:
            self._remember(error)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As ever; a server of TLS 1.3 refuses our certificate only after the handshake."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self._remember(error)
            raise

    def _remember(self, error: OSError) -> None:
        assert isinstance(self.context, ClientContext)
        self.context.failure = error


class ClientContext(ssl.SSLContext):
    """For calls to a peer, perhaps of one certificate alone. `failure`: what last went wrong on a blocking socket."""

    sslobject_class = _Object
    sslsocket_class = _Socket
    fingerprint = ""
    failure: OSError | None = None

    def pin(self, wanted: str) -> None:
        """Take no other certificate; whoever signed it, and whatever name it has."""
        self.fingerprint = wanted
        self.check_hostname = False
        self.verify_mode = ssl.CERT_NONE
