"""The numbers of the operations page in Prometheus' terms. What is not known is left out, never 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from dashboard.operations.snapshot import Operations

PREFIX = "dune_prompt"

Labelled = Iterable[tuple[tuple[str, ...], float | None]]


def metrics(o: Operations) -> Iterator[Metric]:
    """The gauges of one reading. Ratios are 0 … 1, times seconds, sizes bytes."""
    yield from _work(o)
    yield from _flow(o)
    yield from _buffer(o)
    yield from _health(o)


def _work(o: Operations) -> Iterator[Metric]:
    counts = o.work.counts
    yield _gauge("tasks", "Tasks by state.", ("state",), [((state,), number) for state, number in sorted(o.work.states.items())])
    kinds = ("done", "at_work", "waiting", "parked", "waived")
    yield _gauge(
        "files", "Files of all campaigns by what happens to them.", ("kind",), [((kind,), getattr(counts, kind)) for kind in kinds]
    )
    p = o.promptness
    periods = (("now", p.now), ("run", p.run), ("today", p.today))
    yield _gauge(
        "prompt_ratio",
        "Of the files decided in the period, those done in time after they were closed.",
        ("period",),
        [((name,), prompt.fraction) for name, prompt in periods],
    )
    yield _one("backlog_tasks", "Tasks that wait for a slot or a retry.", o.work.backlog)
    yield _one("backlog_drain_seconds", "Time until the backlog is worked off; absent when it does not get less.", o.drain.seconds)
    yield _one("late_tasks", "Tasks whose deadline is over.", o.work.late)
    yield _one("slots_wanted", "Jobs the engine wants at once.", o.slots.wanted)
    yield _one("slots_max", "The most the site allows.", o.slots.max)
    yield _gauge(
        "jobs",
        "Jobs in each batch system.",
        ("launcher", "state"),
        [((at.kind, state), number) for at in o.launchers for state, number in (("running", at.running), ("queued", at.queued))],
    )


def _flow(o: Operations) -> Iterator[Metric]:
    windows = sorted(o.rates.items())
    for what in ("arrived", "processed"):
        files = [((name,), getattr(rates, f"{what}_per_s")) for name, rates in windows]
        size = [((name,), getattr(rates, f"{what}_bytes_per_s")) for name, rates in windows]
        yield _gauge(f"{what}_files_per_second", f"Files that {_VERBS[what]}, over the window.", ("window",), files)
        yield _gauge(f"{what}_bytes_per_second", f"Bytes that {_VERBS[what]}, over the window.", ("window",), size)
    yield _gauge(
        "latency_seconds",
        "How long a leg of a file's way took, over the window.",
        ("leg", "window", "quantile"),
        [
            ((leg.leg, window, quantile), value)
            for window, legs in sorted(o.latency.items())
            for leg in legs
            for quantile, value in (("0.5", leg.p50), ("0.95", leg.p95), ("0.99", leg.p99))
        ],
    )
    yield _gauge(
        "failed_attempts",
        "Attempts that failed in the last day.",
        ("class",),
        [((item.error_class,), item.attempts) for item in o.failure_classes],
    )


_VERBS = {"arrived": "arrived (were closed)", "processed": "were processed"}


def _buffer(o: Operations) -> Iterator[Metric]:
    b = o.buffer
    yield _one("buffer_used_bytes", "Bytes of the raw files in the buffer.", b.used_bytes)
    yield _one("buffer_capacity_bytes", "Bytes the buffer may hold.", b.capacity_bytes)
    yield _one("buffer_high_water_ratio", "The mark above which files leave.", b.high_water)
    yield _one("buffer_low_water_ratio", "The mark down to which they do.", b.low_water)
    yield _one("buffer_to_high_water_seconds", "Time until high water; absent when it does not fill.", o.fill_forecast.to_high_water_s)
    yield _one("disk_free_bytes", "Free bytes of the buffer's file system.", b.disk.free_bytes if b.disk else None)
    deadline = o.deadline.at if o.deadline else None
    yield _one("next_deadline_timestamp_seconds", "When the buffer gives up the next file that is not processed.", deadline)


def _health(o: Operations) -> Iterator[Metric]:
    holders = (("engine", o.services.engine), ("daemon", o.services.daemon))
    yield _gauge(
        "service_up", "Whether somebody holds the lease.", ("service",), [((name,), holder is not None) for name, holder in holders]
    )
    yield _gauge(
        "launcher_up", "Whether the batch system takes jobs.", ("launcher",), [((at.kind,), at.out_since is None) for at in o.launchers]
    )
    yield _gauge(
        "alarms_open", "Open alarms that nobody has acknowledged.", ("severity",), [((s,), n) for s, n in o.alarms.by_severity.items()]
    )
    elements = o.detector.elements if o.detector is not None and not o.detector.old else ()
    yield _gauge(
        "element_flag",
        "The newest run's flag: 0 not judged, 1 good, 2 medium, 3 bad; absent when the run's results are old.",
        ("element",),
        [((item.element or "file",), int(item.flag)) for item in elements],
    )


def _gauge(name: str, words: str, labels: tuple[str, ...], values: Labelled) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", words, labels=labels)
    for label_values, value in values:
        if value is not None:
            family.add_metric(label_values, float(value))
    return family


def _one(name: str, words: str, value: float | None) -> GaugeMetricFamily:
    return _gauge(name, words, (), [((), value)])
