"""What the engine itself leaves in ledger and journal is understood: from arrival to done, through failures and parking."""

from __future__ import annotations

from typing import Any

from campaign.certificate.certificate import certify
from campaign.provenance import trace
from campaign.why.file import why_file
from campaign.why.run import why_run

NOW = 1_700_000_000.0
FILE = "raw_run000001_0000.hdf5"


def ask(house: Any, at: float, what: str = FILE) -> Any:
    with house.store.read() as connection:
        return why_file(connection, house.installation.site, what, at)


def test_a_file_is_followed_from_arrival_to_done(house: Any) -> None:
    house.arrive(1)
    assert ask(house, NOW).campaigns[0].next == "the engine's next step makes its task"
    house.engine.step(NOW)
    assert ask(house, NOW).campaigns[0].state in ("submitting", "submitted", "running")
    (attempt,) = house.launcher.waiting()
    house.launcher.running.add(attempt)
    house.engine.step(NOW + 1)
    assert "a job works on it" in ask(house, NOW + 1).campaigns[0].says
    house.launcher.finish(attempt)
    house.engine.step(NOW + 2)
    reported = ask(house, NOW + 2).campaigns[0]
    assert reported.state == "reported"
    assert "is found" in reported.says
    house.declare_outputs()
    house.engine.step(NOW + 3)
    done = ask(house, NOW + 3).campaigns[0]
    assert done.state == "done"
    assert "prompt" in done.says
    assert [item.attempt for item in done.tried] == [attempt]
    with house.store.read() as connection:
        made = trace(connection, house.installation.site, f"raw_run000001_0000_{done.campaign}_{done.version}_gauss.npz")
    assert (made.attempt, made.stage, made.counts, made.host) == (attempt, "nf_sp", True, "worker")


def test_failures_up_to_parking_are_told_one_by_one(house: Any) -> None:
    house.arrive(1)
    at = NOW
    for number in (1, 2, 3):
        house.engine.step(at)
        (attempt,) = house.launcher.waiting()
        house.launcher.finish(attempt, fail_at="nf_sp", message=f"boom {number}")
        house.engine.step(at + 1)
        answer = ask(house, at + 1).campaigns[0]
        assert len(answer.tried) == number
        assert answer.tried[-1].message == f"nf_sp: boom {number}"
        assert answer.state == ("parked" if number == 3 else "waiting_retry")
        at += 3600
    assert "campaign retry --parked" in answer.next
    history = ask(house, at).history
    assert [line.what.partition(" (")[0] for line in history if "→ parked" in line.what]
    with house.store.read() as connection:
        assert why_run(connection, house.installation.site, 1, at).campaigns[0].parked[0].file == FILE
        content = certify(connection, house.installation.site, 1, at).content
    assert content["campaigns"][0]["parked"][0]["class"] == "payload"
    assert content["campaigns"][0]["attempts"] == {"failed": 3}
