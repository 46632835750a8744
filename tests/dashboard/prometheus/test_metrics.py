"""`/metrics`: the operations page's numbers, nothing invented; and the board in the docs asks for nothing that is not there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dashboard.prometheus.metrics import PREFIX

BOARD = Path(__file__).parents[3] / "docs" / "grafana-board.json"


def scrape(client: Any) -> dict[tuple[str, frozenset[str]], float]:
    """The samples by name and values of their labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, frozenset(sample.labels.values())): sample.value for family in families for sample in family.samples}


def of(*labels: str) -> frozenset[str]:
    return frozenset(labels)


def test_the_numbers_are_those_of_the_page(client: Any, ledger: Any, busy: Any, lease: Any) -> None:
    now = time.time()
    busy(ledger, now)
    ledger.write()
    lease("engine", now + 3600)
    found = scrape(client)
    page = client.get("/api/v1/operations").json()
    for state, number in page["work"]["states"].items():
        assert found["dune_prompt_tasks", of(state)] == number
    assert found["dune_prompt_backlog_tasks", of()] == page["work"]["backlog"]
    assert found["dune_prompt_slots_wanted", of()] == 37
    assert found["dune_prompt_buffer_capacity_bytes", of()] == 200e12
    assert (found["dune_prompt_service_up", of("engine")], found["dune_prompt_service_up", of("daemon")]) == (1, 0)
    for window, rates in page["rates"].items():
        assert found["dune_prompt_arrived_files_per_second", of(window)] == pytest.approx(rates["arrived"] / rates["length_s"])
    for leg in page["latency"]["1h"]:
        key = ("dune_prompt_latency_seconds", of(leg["leg"], "1h", "0.95"))
        assert found.get(key) == leg["p95"]


def test_what_is_not_known_is_absent_not_zero(client: Any) -> None:
    names = {name for name, _ in scrape(client)}
    for name in ("prompt_ratio", "next_deadline_timestamp_seconds", "backlog_drain_seconds", "latency_seconds", "element_flag"):
        assert f"dune_prompt_{name}" not in names


def test_the_board_asks_for_metrics_that_exist(client: Any) -> None:
    offered = {line.split()[2] for line in client.get("/metrics").text.splitlines() if line.startswith("# TYPE")}
    panels = json.loads(BOARD.read_text())["panels"]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(rf"{PREFIX}_\w+", target["expr"])}
    assert asked <= offered
    assert len(asked) > 20


def test_the_boards_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in json.loads(BOARD.read_text())["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
