"""All of the page's state is in its address, and nothing in an address can hurt."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard.quality.run_page.choice import QualityChoice

EVERYTHING: dict[str, str] = {
    "campaign": "pdhd-prompt",
    "version": "v1",
    "file": "np04hd_raw_run027304_0057_dataflow0_datawriter_0_20240619T110330.hdf5",
    "element": "P02NL",
    "plane": "V",
    "record": "2",
    "trend": "n_noisy",
    "compare": "27300",
    "view": "element",
    "show": "ratio",
    "channels": "3400-3600",
    "files": "40-80",
    "zoom": "3400-3600,100-900",
}


def links(node: Any) -> list[str]:
    return [link.attributes["href"] for link in node.every("a")]


def chosen_in(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def test_an_address_brings_the_whole_state_back(look: Any) -> None:
    page = look(**EVERYTHING)
    assert {name: str(value) for name, value in page.data["choice"].items()} == EVERYTHING
    names = {field.name for field in fields(QualityChoice)} - {"run", "attempt"}
    assert names == set(EVERYTHING)
    # A link that changes one thing keeps all that still means something.
    trend = next(link for link in links(page.section("trend").one("nav")) if "trend=hits" in link)
    assert chosen_in(trend) == EVERYTHING | {"trend": "hits"}
    nothing = next(link for link in links(page.section("plots")) if "compare=none" in link)
    assert chosen_in(nothing) == EVERYTHING | {"compare": "none"}


def test_what_means_nothing_elsewhere_is_left_out(look: Any) -> None:
    page = look(**EVERYTHING)
    newer = chosen_in(page.one("a", id="file-next").attributes["href"])
    assert newer["file"].endswith("_0058_dataflow0_datawriter_0_20240619T110330.hdf5")
    assert "record" not in newer
    assert newer["zoom"] == EVERYTHING["zoom"]
    other_plane = chosen_in(page.section("plots").one("nav", **{"aria-label": "Plane"}).every("a")[0].attributes["href"])
    assert {"channels", "zoom"}.isdisjoint(other_plane)
    assert other_plane["files"] == EVERYTHING["files"]


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"run": 1}, {"file", "attempt", "record", "files"}),
        ({"version": "v2"}, {"file", "attempt", "record", "files"}),
        ({"attempt": None}, {"record"}),
    ],
)
def test_changes_that_take_other_things_away(change: dict[str, Any], gone: set[str]) -> None:
    before = QualityChoice(run=27304, attempt="A", **EVERYTHING)  # type: ignore[arg-type]
    after = before.but(**change)
    assert {field.name for field in fields(QualityChoice) if getattr(after, field.name) is None} - set(change) == gone
    assert before.but(plane=before.plane, file=before.file) == before


def test_the_page_without_a_choice_shows_the_latest_file(look: Any, filled: Any) -> None:
    page = look()
    choice = page.data["choice"]
    assert (choice["element"], choice["plane"], choice["trend"]) == ("P02SU", "W", "rms_nf_adc")
    assert "file" not in choice
    assert page.section("shown-file").one("h2").text == f"File {filled.last}"


@pytest.mark.parametrize(
    "query",
    [
        "?plane=X&view=sideways&show=backwards&trend=nonsense",
        "?element=APA9&plane=U",
        "?record=99",
        "?compare=&file=&record=",
        "?channels=9-1&zoom=1-2,3",
    ],
)
def test_what_cannot_be_is_left_to_the_page(look: Any, query: str) -> None:
    assert look(query=query).section("planes")


@pytest.mark.parametrize("query", ["?record=one", "?zoom=<b>", "?channels=a-b", "?campaign=" + "x" * 301])
def test_an_address_that_cannot_be_read_is_refused(client: Any, query: str) -> None:
    assert client.get("/runs/27304/quality" + query).status_code == 422


@pytest.mark.parametrize("path", ["/runs/1/quality", "/runs/27304/quality?campaign=other", "/runs/27304/quality?version=v9"])
def test_what_nobody_knows_is_not_found(client: Any, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_form_sends_the_rest_of_the_state(look: Any) -> None:
    form = look(**EVERYTHING).section("plots").one("form")
    sent = {field.attributes["name"]: field.attributes["value"] for field in form.every("input")}
    assert sent == EVERYTHING


def test_links_to_the_runs_beside_it(look: Any, filled: Any) -> None:
    steps = {
        link.attributes.get("rel"): link.attributes["href"] for link in look(filled.other_run).section("run-head").every("a", cls="step")
    }
    assert steps["prev"].startswith(f"/runs/{filled.reference_run}/quality?")
    assert steps["next"].startswith(f"/runs/{filled.run}/quality?")
