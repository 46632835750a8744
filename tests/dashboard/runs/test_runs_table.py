"""The table of runs against counts made in another way: its filters, its order, its pages."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from dashboard.app import create_app
from dashboard.operations.campaigns import counted_campaigns
from dashboard.quality.flags import Flag
from dashboard.runs.listing import RunRow, read_page
from dashboard.runs.listing_choice import COLUMNS, FLAGS, STATES, Position, RunsChoice, choose
from dune_prompt.settings.site import ServiceSettings

NOW = 1_718_795_400.0
SLOTS = SimpleNamespace(wanted=1, reason="one task waits")
WAITING = {"ready", "waiting_retry", "blocked"}
AT_WORK = {"submitting", "submitted", "running", "reported"}


def text_of(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", html))


def expected(ledger: Any) -> dict[tuple[int, str], dict[str, int]]:
    """Files by (run, campaign) and what happens to them, from the tasks as they were inserted: file by file, not from the counts."""
    names = {row["id"]: row["name"] for row in ledger.campaigns}
    files: dict[tuple[int, str, str], dict[str, str]] = defaultdict(dict)
    late: dict[tuple[int, str], int] = defaultdict(int)
    for task in ledger.tasks:
        key = (task["run"], names[task["campaign_id"]])
        files[(*key, task["input_did"])][task["step"]] = task["state"]
        late[key] += task["late"] and task["state"] != "done"
    found: dict[tuple[int, str], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("files", "done", "work", "wait", "parked", "waived"), 0)
    )
    for (run, name, _), steps in files.items():
        row = found[run, name]
        states = set(steps.values())
        row["files"] += 1
        where = (
            "parked"
            if "parked" in states
            else "work"
            if states & AT_WORK
            else "waived"
            if "waived" in states
            else "wait"
            if states & WAITING
            else "done"
        )
        row[where] += 1
    for key, number in late.items():
        found[key]["late"] = number
    return found


def read_all(store: Any, choice: RunsChoice, limit: int = 1000) -> list[RunRow]:
    """Every page after another."""
    rows: list[RunRow] = []
    with store.read() as connection:
        campaigns = counted_campaigns(connection)
        while True:
            page = read_page(connection, campaigns, choice, limit)
            rows += page.rows
            if page.next is None:
                assert page.totals.rows == len(rows)
                return rows
            # As it comes back from an address.
            choice = replace(choice, after=Position.read(str(page.next), choice.column))
            assert choice.after == page.next


def test_every_count_is_that_of_the_files(many: Any, store: Any) -> None:
    wanted = expected(many)
    rows = read_all(store, RunsChoice())
    assert {(row.run, row.campaign) for row in rows} == set(wanted)
    for row in rows:
        counts = wanted[row.run, row.campaign]
        found = (row.counts.files, row.counts.done, row.counts.at_work, row.counts.waiting, row.counts.parked, row.counts.waived, row.late)
        assert found == tuple(counts[name] for name in ("files", "done", "work", "wait", "parked", "waived", "late")), row


def test_the_totals_are_those_of_all_pages(many: Any, store: Any) -> None:
    with store.read() as connection:
        page = read_page(connection, counted_campaigns(connection), RunsChoice(), 5)
    wanted = list(expected(many).values())
    assert (page.totals.rows, page.totals.files, page.totals.done, page.totals.parked, page.totals.late) == (
        len(wanted),
        *(sum(counts[name] for counts in wanted) for name in ("files", "done", "parked", "late")),
    )
    assert len(page.rows) == 5


def value_of(row: RunRow, column: str) -> Any:
    return {
        "run": row.run,
        "detector": row.detector,
        "type": row.run_type,
        "files": row.counts.files,
        "done": row.counts.done / row.counts.files,
        "work": row.counts.at_work,
        "parked": row.counts.parked,
        "late": row.late,
        "taken": row.data_from or 0,
        "flag": row.flag if row.people is None else row.people,
    }[column]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("column", COLUMNS)
def test_pages_of_every_order_have_each_run_once(many: Any, store: Any, column: str, descending: bool) -> None:
    rows = read_all(store, RunsChoice(sort=f"-{column}" if descending else column), limit=7)
    assert len(rows) == len({(row.run, row.campaign) for row in rows}) == len(expected(many))
    newest_first = sorted(rows, key=lambda row: (-row.run, -row.campaign_id))
    # Python's sort keeps equals in their order: of these the newest run stands first, however the column is sorted.
    by_value = sorted(newest_first, key=lambda row: value_of(row, column))
    groups = [list(group) for _, group in groupby(by_value, key=lambda row: value_of(row, column))]
    assert rows == [row for group in (groups[::-1] if descending else groups) for row in group]


def test_filters_leave_what_they_say(many: Any, store: Any) -> None:
    everything = read_all(store, RunsChoice())

    def check(choice: RunsChoice, fits: Any) -> None:
        rows = read_all(store, choice)
        assert {(row.run, row.campaign_id) for row in rows} == {(row.run, row.campaign_id) for row in everything if fits(row)}
        assert 0 < len(rows) < len(everything), choice

    check(RunsChoice(campaign="pdhd-keepup"), lambda row: row.campaign == "pdhd-keepup")
    check(RunsChoice(version="v1"), lambda row: row.version == "v1")
    check(RunsChoice(detector="pdvd"), lambda row: row.detector == "pdvd")
    check(RunsChoice(from_run=110), lambda row: row.run >= 110)
    check(RunsChoice(to_run=110), lambda row: row.run <= 110)
    check(RunsChoice(from_run=105, to_run=105), lambda row: row.run == 105)
    check(RunsChoice(run_type="beam"), lambda row: row.run_type == "beam")
    check(RunsChoice(state="parked"), lambda row: row.counts.parked > 0)
    check(RunsChoice(state="late"), lambda row: row.late > 0)
    check(RunsChoice(state="open"), lambda row: row.counts.at_work + row.counts.waiting > 0)
    check(RunsChoice(state="complete"), lambda row: row.counts.done + row.counts.waived == row.counts.files)
    for name, flag in FLAGS.items():
        check(RunsChoice(flag=name), lambda row, flag=flag: (row.flag if row.people is None else row.people) == flag)
    assert read_all(store, RunsChoice(campaign="pdhd-keepup", version="v1")) == []


def test_the_newest_word_of_people_counts_and_none_takes_it_back(many: Any, store: Any) -> None:
    flags = {row.run: (row.flag, row.people) for row in read_all(store, RunsChoice(campaign="pdhd-prompt"))}
    assert flags[101] == (Flag.NULL, Flag.BAD)
    assert flags[104] == (Flag.BAD, Flag.GOOD)
    assert flags[106][1] is None
    assert flags[102] == (Flag.GOOD, None)


def test_the_page_has_the_numbers_in_words_without_javascript(client: Any, many: Any) -> None:
    html = client.get("/runs?from=105&to=105&campaign=pdhd-prompt").text
    counts = expected(many)[105, "pdhd-prompt"]
    text = text_of(html)
    assert "1 runs fit" in text
    row = text_of(html.partition("<tbody>")[2].partition("</tbody>")[0])
    assert row.split()[:2] == ["105", "pdhd-prompt"]
    assert f"{counts['files']} " in row
    assert "100\u202f%" in row
    assert 'aria-label="run 105: 1 done, 0 at work, 0 waiting, 0 parked, 0 waived"' in html


def test_the_median_is_that_of_the_files_that_are_done(client: Any, ledger: Any) -> None:
    ledger.campaign()
    took = [60.0, 90.0, 100.0, 3600.0]
    for i, seconds in enumerate(took):
        ledger.task(5, i, state="done", closed_at=NOW, done_at=NOW + seconds)
    ledger.task(5, 4, state="done", closed_at=NOW, done_at=NOW + 9999, attempts=0)
    ledger.task(5, 5, state="running", closed_at=NOW)
    ledger.task(6, 0, state="running")
    ledger.write()
    assert statistics.median(took) == 95
    rows = client.get("/runs").text.partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")
    assert "1\u202fmin 35\u202fs" in rows[1]
    assert re.search(r'<td class="n">–</td>', rows[0]), "nothing of run 6 is done"
    ledger.task(5, 6, state="done", closed_at=NOW, done_at=NOW + 200)
    ledger.write()
    assert "1\u202fmin 40\u202fs" in client.get("/runs").text


def test_what_is_open_or_parked_is_not_complete_and_needs_no_certificate(client: Any, ledger: Any, quality: Any) -> None:
    ledger.campaign()
    for run, state in ((5, "done"), (6, "parked"), (7, "running")):
        ledger.task(run, 0, state=state)
    ledger.write()
    quality.excluded(7)
    rows = client.get("/runs").text.partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")[:3]
    of_7, of_6, of_5 = (text_of(row) for row in rows)
    assert "not complete" in of_7
    assert "excluded" in of_7
    assert 'title="Run 6 is NOT complete: pdhd-prompt v1: 1 parked."' in rows[1]
    assert "excluded" not in of_6
    assert "complete" not in of_5, "nobody has certified it yet"


def test_headers_say_how_the_table_is_sorted_and_turn_it_round(client: Any, many: Any) -> None:
    html = client.get("/runs?sort=-parked&state=parked").text
    head = html.partition("<thead>")[2].partition("</thead>")[0]
    (sorted_header,) = re.findall(r'<th scope="col"[^>]*aria-sort="(\w+)"><a href="([^"]+)"', head)
    assert sorted_header == ("descending", "/runs?state=parked&amp;sort=parked")
    assert 'href="/runs?state=parked&amp;sort=detector"' in head


@pytest.mark.filterwarnings("ignore:The `root_path` parameter")
@pytest.mark.parametrize("path", ["", "/prompt"])
def test_a_number_in_the_strip_on_top_leads_to_the_run(store: Any, site: Any, tokens: Any, ledger: Any, path: str) -> None:
    ledger.write()
    proxied = site.model_copy(update={"service": ServiceSettings.model_validate({"url": f"https://np04.cern.ch{path}"})})
    app = create_app(proxied, store, None, authenticate=tokens.authenticate, slots=lambda: SLOTS)
    answer = TestClient(app).get("/runs?run=27305", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}/runs/27305")


@pytest.mark.parametrize(
    "query", ["sort=nonsense", "state=nonsense", "flag=9", "from=abc", "to=-5", "after=x", "after=~~", "from=99999999999", "after=nan~1~1"]
)
def test_what_cannot_be_in_an_address_is_left_out(client: Any, many: Any, query: str) -> None:
    answer = client.get(f"/runs?{query}")
    assert answer.status_code == 200
    if not query.startswith("after=nan"):
        assert len(re.findall('<th scope="row">', answer.text)) == len(expected(many))


def test_what_is_in_the_address_is_escaped(client: Any, many: Any) -> None:
    evil = '"><script>alert(1)</script>'
    for name in ("campaign", "version", "detector", "type", "from", "state", "after", "sort"):
        assert "<script>alert" not in client.get(f"/runs?{name}={quote(evil)}").text


def test_an_empty_ledger_says_so(client: Any, ledger: Any) -> None:
    ledger.write()
    assert "No file has been taken in yet." in client.get("/runs").text
    assert "No run fits." in client.get("/runs?state=late").text


_WORDS = st.none() | st.text(min_size=1, max_size=9)
_RUNS = st.none() | st.integers(0, 2**31 - 1)


@given(
    st.builds(
        RunsChoice,
        campaign=_WORDS,
        version=_WORDS,
        detector=_WORDS,
        from_run=_RUNS,
        to_run=_RUNS,
        run_type=_WORDS,
        state=st.none() | st.sampled_from(list(STATES)),
        flag=st.none() | st.sampled_from(list(FLAGS)),
        sort=st.sampled_from([*COLUMNS, *(f"-{column}" for column in COLUMNS)]),
    ),
    st.none() | st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9), st.integers(0, 10**6), st.integers(0, 99)),
)
def test_the_address_keeps_the_whole_choice(choice: RunsChoice, after: tuple[float, str, int, int] | None) -> None:
    if after is not None:
        value: float | str = after[1] if choice.column in ("detector", "type") else after[0]
        choice = replace(choice, after=Position(value, *after[2:]))
    query = {key: values[0] for key, values in parse_qs(urlsplit(choice.link(after=choice.after)).query, keep_blank_values=True).items()}
    renamed = {"from": "from_run", "to": "to_run", "type": "run_type"}
    assert choose(**{renamed.get(key, key): value for key, value in query.items()}) == choice
