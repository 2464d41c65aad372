"""The figures of the whole service in Prometheus' text form, read from Redis at every scrape.

Nothing is counted in a process: the scripts count in the hash of totals, so one scrape of any API process tells the
figures of all of them, and a restart loses none.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.connections import Redis, open_keyspace, translated
from shared.heartbeats import Heartbeats
from shared.jobs.job import JobKind, JobStatus
from shared.jobs.new_job import subject_of
from shared.keyspace import SHARDS
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of what ``Metrics.text`` returns."""

_BOUNDS = ("1", "2", "4", "8", "16", "32", "64", "128", "inf")
_ENDED = tuple(status.value for status in JobStatus if status.is_terminal)
_OPEN = tuple(status.value for status in JobStatus if not status.is_terminal)
_LINES = 2_000  # a scrape looks at this many lines; more than that would hold Redis


class Metrics:
    """Reads the figures and writes them out.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)
        self._heartbeats = Heartbeats(redis, settings)
        self._figures = WebhookFigures(redis, settings)

    def text(self) -> bytes:
        """One scrape.

        Raises:
            Unavailable: Redis does not answer.
        """
        families = [*self._totals(), *self._queues(), self._workers(), *self._webhooks()]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Fixed(families))
        return generate_latest(registry)

    def _totals(self) -> Iterator[Metric]:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for shard in SHARDS:
                pipe.hgetall(self._names.in_shard("totals", shard=shard))
            totals = _summed(pipe.execute())
        jobs = CounterMetricFamily("headrace_jobs", "Jobs that have ended.", labels=("kind", "status"))
        waited = CounterMetricFamily("headrace_job_queue_seconds", "Time that ended jobs waited.", labels=("kind",))
        ran = CounterMetricFamily("headrace_job_run_seconds", "Time from start to end of jobs.", labels=("kind",))
        opened = GaugeMetricFamily("headrace_jobs_open", "Jobs that have not ended.", labels=("kind", "status"))
        for kind in JobKind:
            for status in _ENDED:
                jobs.add_metric((kind, status), totals.get(f"{kind}:{status}", 0))
            for status in _OPEN:
                opened.add_metric((kind, status), max(0.0, totals.get(f"{kind}:{status}", 0)))
            waited.add_metric((kind,), totals.get(f"queue_ms:{kind}", 0) / 1000)
            ran.add_metric((kind,), totals.get(f"run_ms:{kind}", 0) / 1000)
        yield from (jobs, opened, waited, ran)

        buckets, count = [], 0.0
        for bound in _BOUNDS:
            count += totals.get(f"batch_rows_le:{bound}", 0)
            buckets.append(("+Inf" if bound == "inf" else f"{bound}.0", count))
        rows = HistogramMetricFamily("headrace_batch_rows", "Rows that one batch of predictions had.")
        rows.add_metric((), buckets, totals.get("batch_rows", 0))
        yield rows
        for name, field, what in (
            ("headrace_batch_decode_seconds", "decode_ms", "Time that batches took to decode their inputs."),
            ("headrace_batch_compute_seconds", "compute_ms", "Time that batches spent in the model."),
        ):
            yield CounterMetricFamily(name, what, value=totals.get(field, 0) / 1000)

    def _queues(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily("headrace_queue_depth_rows", "Rows that wait.", labels=("queue", "pool"))
        size = GaugeMetricFamily("headrace_queue_depth_bytes", "Bytes of input that wait.", labels=("queue", "pool"))
        oldest = GaugeMetricFamily(
            "headrace_queue_oldest_seconds", "Age of the oldest that waits.", labels=("queue", "pool")
        )
        for shard in SHARDS:
            for pool, line, load, age in self._lines(shard):
                labels = (subject_of(line) + ("!" if line.endswith("!") else ""), pool)
                rows.add_metric(labels, float(load[0] or 0))
                size.add_metric(labels, float(load[1] or 0))
                oldest.add_metric(labels, age)
        yield from (rows, size, oldest)

    def _lines(self, shard: str) -> Iterator[tuple[str, str, list[bytes | None], float]]:
        """Every line that has work: its pool, its name, its rows and bytes, and the age of its oldest job."""
        with translated():
            found: Any = self._redis.smembers(self._names.in_shard("pools", shard=shard))
            pools = sorted(pool.decode() for pool in found)
            with self._redis.pipeline(transaction=False) as pipe:
                for pool in pools:
                    pipe.zrange(self._names.in_shard("ready", pool, shard=shard), 0, _LINES - 1)
                members: list[list[bytes]] = pipe.execute() if pools else []
            lines = [(pool, line.decode()) for pool, waiting in zip(pools, members, strict=True) for line in waiting][
                :_LINES
            ]
            with self._redis.pipeline(transaction=False) as pipe:
                for _, line in lines:
                    pipe.hmget(self._names.in_shard("load", line, shard=shard), "rows", "bytes")
                    pipe.zrange(self._names.in_shard("born", line, shard=shard), 0, 0, withscores=True)
                pipe.time()  # jobs are born by this clock
                *facts, (seconds, microseconds) = pipe.execute()
        now = seconds + microseconds / 1e6
        for (pool, line), load, oldest in zip(lines, facts[::2], facts[1::2], strict=True):
            yield pool, line, load, max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0

    def _workers(self) -> Metric:
        living = GaugeMetricFamily("headrace_workers", "Workers that live.", labels=("kind", "pool"))
        counts: dict[tuple[str, str], int] = {}
        for worker in self._heartbeats.living():
            counts[worker.kind, worker.pool] = counts.get((worker.kind, worker.pool), 0) + 1
        for labels, count in sorted(counts.items()):
            living.add_metric(labels, count)
        return living

    def _webhooks(self) -> Iterator[Metric]:
        figures = self._figures.read()
        attempts = CounterMetricFamily(
            "headrace_webhook_attempts", "Attempts to deliver webhooks.", labels=("event", "outcome")
        )
        for labels, count in sorted(figures.attempts.items()):
            attempts.add_metric(labels, count)
        yield attempts
        yield CounterMetricFamily("headrace_webhook_dead_letters", "Webhooks that were given up.", figures.given_up)
        for name, what, value in (
            ("headrace_outgoing_waiting", "Webhooks and downloads that are due now or later.", figures.waiting),
            ("headrace_webhook_open_circuits", "Hosts that get no webhooks for a while.", figures.open_circuits),
        ):
            yield GaugeMetricFamily(name, what, value=value)


class _Fixed(Collector):
    """Hands over families that were read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _summed(shards: Iterable[Mapping[bytes, bytes]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for record in shards:
        for field, value in record.items():
            totals[field.decode()] = totals.get(field.decode(), 0.0) + float(value)
    return totals
