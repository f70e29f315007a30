"""Who may open an association: calling AE title, address and certificate name the peer, the called one the project."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from dicomnode.dimse import tls
from dicomnode.dimse.scp import Rejection
from dicomnode.model import Origin, Peer

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# A-ASSOCIATE-RJ: result 1 permanent, source 1 service user (PS3.8 9.3.4)
NO_REASON = 1
MOST_TURNED_AWAY = 20
CALLING_UNKNOWN = 3
CALLED_UNKNOWN = 7


@dataclass(frozen=True, slots=True)
class Caller:
    """A peer and the networks from which it may call."""

    peer: Peer
    networks: tuple[IPNetwork, ...]


def resolve(peers: Iterable[Peer]) -> dict[str, list[Caller]]:
    """Look the peers' addresses up (blocking); a name that does not resolve admits nobody. Keyed by AE title."""
    callers: dict[str, list[Caller]] = {}
    for peer in peers:
        networks = tuple(network for address in peer.addresses for network in _networks(address))
        callers.setdefault(peer.ae_title, []).append(Caller(peer, networks))
    return callers


def _networks(address: str) -> list[IPNetwork]:
    try:
        return [ipaddress.ip_network(address, strict=False)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_network(str(entry[4][0]).split("%")[0]) for entry in found]


class Admission:
    """Checks callers; `projects` maps called AE title to project name."""

    def __init__(self, callers: Mapping[str, list[Caller]], projects: Mapping[str, str]) -> None:
        self.callers = callers
        self._projects = projects
        self._numbers = count(1)
        self.last_call: dict[str, float] = {}  # peer -> seconds since the epoch
        self.turned_away: deque[dict[str, object]] = deque(maxlen=MOST_TURNED_AWAY)

    def renew(self, callers: Mapping[str, list[Caller]], projects: Mapping[str, str]) -> None:
        """Judge by these from now on."""
        self.callers, self._projects = callers, projects

    def judge(self, calling: str, called: str, address: str, certificate: bytes | None = None) -> Origin | Rejection:
        """The origin of an admitted association, or why it is rejected; both are remembered for people."""
        answer = self._judge(calling, called, address, certificate)
        if isinstance(answer, Origin):
            self.last_call[answer.peer] = time.time()
        else:
            told = {"calling": calling, "called": called, "address": address, "why": answer.why}
            self._remember({name: text if text.isprintable() else "?" for name, text in told.items()})
        return answer

    def _remember(self, caller: dict[str, str]) -> None:
        for before in [each for each in self.turned_away if caller.items() <= each.items()]:
            self.turned_away.remove(before)
        self.turned_away.append({**caller, "at": time.time()})

    def _judge(self, calling: str, called: str, address: str, certificate: bytes | None) -> Origin | Rejection:
        """The origin of an admitted association, or why it is rejected (PS3.8 9.3.4).

        `certificate` (DER) is what the caller showed over TLS, its signature checked; None in clear.
        """
        project = self._projects.get(called)
        if project is None:
            return Rejection(1, 1, CALLED_UNKNOWN, "called AE title not recognised")
        known = self.callers.get(calling)
        if not known:
            return Rejection(1, 1, CALLING_UNKNOWN, "calling AE title not recognised")
        here = _at_address(known, address)
        if not here:
            return Rejection(1, 1, NO_REASON, "address does not belong to the calling AE title")
        caller = next((each for each in here if _shows(each.peer, certificate)), None)
        if caller is None:
            why = "must call over TLS" if certificate is None else "the certificate is not the peer's"
            return Rejection(1, 1, NO_REASON, why)
        return Origin(project, caller.peer.name, calling, called, address, next(self._numbers))


def _shows(peer: Peer, certificate: bytes | None) -> bool:
    """A peer with TLS never calls in clear, and shows its own certificate."""
    return peer.tls is None or (certificate is not None and tls.matches(peer.tls, certificate))


def _at_address(callers: list[Caller], address: str) -> list[Caller]:
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return []
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return [caller for caller in callers if any(ip in network for network in caller.networks)]
