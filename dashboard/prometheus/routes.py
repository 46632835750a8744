"""`/metrics`, made from the reading the operations page shares."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dashboard.operations.snapshot import OperationsReader
from dashboard.prometheus.metrics import metrics


class _Collector(Collector):
    def __init__(self, reader: OperationsReader) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Metric]:
        return metrics(self._reader.read(time.time()))

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the store."""
        return ()


def create_router(reader: OperationsReader) -> APIRouter:
    """The route `/metrics`."""
    router = APIRouter()
    registry = CollectorRegistry()
    registry.register(_Collector(reader))

    @router.get("/metrics", include_in_schema=False)
    def prometheus(accept: Annotated[str, Header()] = "") -> Response:
        encode, content_type = choose_encoder(accept)
        return Response(encode(registry), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return router
