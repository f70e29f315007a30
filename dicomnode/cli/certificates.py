"""Whether the certificates that we show can be used, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from dicomnode.cli.finding import Finding
from dicomnode.config import Settings
from dicomnode.dimse.tls import client_context, ends, server_context
from dicomnode.errors import ConfigError

SOON = timedelta(days=30)


def certificates(settings: Settings) -> Iterator[Finding]:
    """A finding for `node.tls`, and one for each certificate of ours that a peer is shown alone."""
    tls = settings.node.tls
    if tls.certificate and tls.ca:
        yield _judged("TLS of node", tls.certificate, partial(server_context, tls.certificate, tls.key, tls.ca))
    for name, peer in settings.peers.items():
        if peer.tls is not None and peer.tls.certificate is not None and peer.tls.certificate != tls.certificate:
            yield _judged(f"TLS to {name}", peer.tls.certificate, partial(client_context, peer.tls))


def _judged(subject: str, certificate: Path, use: Callable[[], object]) -> Finding:
    try:
        use()
        until = ends(certificate)
    except ConfigError as error:
        return Finding("wrong", subject, str(error))
    now, text = datetime.now(UTC), f"{certificate}, valid until {until:%Y-%m-%d}"
    renew = "renew it, then systemctl reload dicomnode"
    if until < now:
        return Finding("wrong", subject, f"{text}: it has expired; {renew}")
    return Finding("warning", subject, f"{text}; {renew}") if until < now + SOON else Finding("ok", subject, text)
