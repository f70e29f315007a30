"""Everything by which the node is seen from outside, started and stopped together; none of it can hold the node up."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from dicomnode.config import Settings
from dicomnode.errors import CannotListen
from dicomnode.observe import web
from dicomnode.observe.notify import notify, ping_watchdog
from dicomnode.observe.view import View

if TYPE_CHECKING:  # both bring libraries, which only those who configure them pay for
    from dicomnode.observe.metrics import Numbers
    from dicomnode.observe.mqtt import Publisher

log = structlog.get_logger()

TELL_EVERY = 5.0  # seconds between two STATUS= lines
FAREWELL = 5.0  # seconds for the last events at stop


class Outside:
    """The word to systemd, the pages for Prometheus and the events for MQTT, the latter two where configured."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._tasks: list[asyncio.Task[None]] = []
        self._web = web.Web({"/metrics": self._metrics, "/healthz": self._healthy, "/readyz": self._ready})
        self._publisher = self._make_publisher() if view.settings.mqtt.host else None
        view.journal.publishing = self._publisher is not None
        self._numbers = self._make_numbers() if view.settings.metrics.port is not None else None

    def _make_publisher(self) -> Publisher:
        from dicomnode.observe.mqtt import Publisher

        return Publisher(self._view.settings, self._view.journal)

    def _make_numbers(self) -> Numbers:
        from dicomnode.observe.metrics import Numbers

        return Numbers(self._view, lambda: self._publisher.connected if self._publisher else None)

    async def start(self) -> None:
        """Take the port of the pages, if any, and begin; raises CannotListen."""
        metrics = self._view.settings.metrics
        if metrics.port is not None:
            try:
                port = await self._web.listen(metrics.bind, metrics.port)
            except OSError as error:
                raise CannotListen(
                    f"cannot listen on {metrics.bind} port {metrics.port}: {os.strerror(error.errno or 0)}",
                    "stop what uses the port, or change metrics.bind or metrics.port",
                ) from None
            log.info("metrics-listening", address=metrics.bind, port=port)
        self._tasks = [asyncio.create_task(each) for each in (self._tell(), ping_watchdog(self._view.stuck))]
        if self._publisher is not None:
            self._publisher.start()

    def status(self) -> str:
        """One line: what is open, what waits, who is away."""
        return self._view.status()

    def renew(self, settings: Settings) -> None:
        """Use these settings from now on; what is configured for MQTT and metrics stays."""
        self._view.settings = settings
        if self._publisher is not None:
            self._publisher.renew(settings)

    async def stop(self) -> None:
        """Publish what waits as far as the broker takes it within seconds, and end."""
        self._web.close()
        if self._publisher is not None and self._tasks:
            await asyncio.to_thread(self._publisher.stop, FAREWELL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self) -> None:
        while True:
            notify(f"STATUS={self._view.status()}")
            await asyncio.sleep(TELL_EVERY)

    async def _metrics(self) -> web.Answer:
        assert self._numbers is not None
        return HTTPStatus.OK, self._numbers.content_type, await asyncio.to_thread(self._numbers.page)

    async def _healthy(self) -> web.Answer:
        return _verdict(self._view.stuck())

    async def _ready(self) -> web.Answer:
        return _verdict(self._view.unready())


def _verdict(trouble: str) -> web.Answer:
    return web.text(HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK, trouble or "ok")
