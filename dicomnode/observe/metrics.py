"""The node's numbers for Prometheus. They are read when Prometheus asks; nothing is labelled by study or patient."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dicomnode import __version__
from dicomnode.model import StudyState
from dicomnode.observe.view import View
from dicomnode.tally import BOUNDS, Timing

UNFINISHED = (
    StudyState.RECEIVING,
    StudyState.COMPLETE,
    StudyState.FORWARDING,
    StudyState.HELD,
    StudyState.INCOMPLETE,
    StudyState.WITHHELD,
    StudyState.FAILED,
)


class Numbers(Collector):
    """What the view shows, as metric families; `publishing` says whether the MQTT broker is there, None without one."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, view: View, publishing: Callable[[], bool | None]) -> None:
        self._view = view
        self._publishing = publishing
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def page(self) -> bytes:
        """The page in the text format of Prometheus (blocking: it reads the journal)."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield _gauge("info", "always 1; the version is the label", 1, version=__version__)
        yield from self._arrivals()
        yield from self._load()
        yield from self._destinations()
        yield from self._studies()
        yield from self._storage()

    def _arrivals(self) -> Iterator[Metric]:
        arrivals = self._view.intake.arrivals
        withheld = dict(arrivals.withheld)
        outcomes = {
            "stored": arrivals.stored,
            "withheld": sum(withheld.values()),
            "duplicate": arrivals.duplicates,
            "refused": arrivals.refused,
        }
        yield _counter("instances", "instances received, by what became of them", "outcome", outcomes)
        yield _counter("withheld", "instances withheld, by reason", "reason", withheld)
        yield CounterMetricFamily("dicomnode_received_bytes", "bytes of data sets received", value=arrivals.bytes)
        stages = {name: getattr(arrivals, name) for name in ("receive", "clean", "keep", "answer")}
        family = HistogramMetricFamily("dicomnode_stage_seconds", "time per instance and stage", labels=("stage",))
        for stage, timing in stages.items():
            family.add_metric([stage], _buckets(timing), timing.seconds)
        yield family

    def _load(self) -> Iterator[Metric]:
        view = self._view
        yield _gauge("associations", "open associations, incoming", view.server.associations)
        yield _gauge("queue_instances", "instances in de-identification", view.intake.places.taken)
        yield _gauge("queue_waiting_instances", "instances that wait for it", view.intake.places.waiting)
        yield _gauge("open_studies", "studies that are arriving", len(view.open_studies))
        yield _gauge("journal_backlog_rows", "journal rows not committed yet", view.journal.backlog)

    def _destinations(self) -> Iterator[Metric]:
        forwarders = dict(self._view.forwarders)
        up = {name: float(forwarder.up) for name, forwarder in forwarders.items()}
        waiting = {name: float(forwarder.waiting) for name, forwarder in forwarders.items()}
        yield _gauges("destination_up", "1 when the destination answered last time", "destination", up)
        yield _gauges("destination_waiting_studies", "studies that wait for it", "destination", waiting)
        sent = CounterMetricFamily(
            "dicomnode_sent_instances", "instances sent, by the answer", labels=("destination", "outcome")
        )
        data = CounterMetricFamily("dicomnode_sent_bytes", "bytes of data sets sent", labels=("destination",))
        seconds = HistogramMetricFamily(
            "dicomnode_send_seconds", "time per instance from C-STORE to its answer", labels=("destination",)
        )
        for name, departures in ((name, forwarder.departures) for name, forwarder in forwarders.items()):
            sent.add_metric([name, "sent"], departures.sent)
            sent.add_metric([name, "refused"], departures.refused)
            data.add_metric([name], departures.bytes)
            seconds.add_metric([name], _buckets(departures.send), departures.send.seconds)
        yield from (sent, data, seconds)

    def _studies(self) -> Iterator[Metric]:
        counts = self._view.journal.count_studies()
        yield _gauges(
            "studies", "studies by state", "state", {str(state): float(counts.get(state, 0)) for state in StudyState}
        )
        now, oldest = time.time(), self._view.journal.oldest_studies(UNFINISHED)
        ages = {str(state): max(0.0, now - oldest[state]) if state in oldest else 0.0 for state in UNFINISHED}
        yield _gauges(
            "oldest_study_seconds", "age of the oldest study in a state that is no end; 0 without one", "state", ages
        )

    def _storage(self) -> Iterator[Metric]:
        free = shutil.disk_usage(self._view.settings.storage.directory).free
        yield _gauge("disk_free_bytes", "room on the file system of the storage directory", free)
        connected = self._publishing()
        if connected is not None:
            yield _gauge("mqtt_connected", "1 while the MQTT broker takes our events", connected)
            waiting = self._view.journal.count_unpublished()
            yield _gauge("mqtt_waiting_events", "events that wait for the broker", waiting)


def _buckets(timing: Timing) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*BOUNDS, float("inf")), list(timing.counts), strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return buckets


def _gauge(name: str, meaning: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"dicomnode_{name}", meaning, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family


def _gauges(name: str, meaning: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"dicomnode_{name}", meaning, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def _counter(name: str, meaning: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"dicomnode_{name}", meaning, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family
