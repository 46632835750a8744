"""Notices on their way: to a web server that misbehaves, to a mail server that says no, and around both without losing or doubling one."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.alarms.notices import deliveries
from dashboard.alarms.payload import trial_notice
from dashboard.alarms.sending import MOST_A_ROUND, Sender
from dashboard.alarms.tables import notice_table
from dashboard.alarms.targets import Mail, Webhook, targets_of
from dashboard.background import Repeated
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings.alarms import MailSettings, WebhookSettings

NOW = 1_718_795_400.0  # 2024-06-19 11:10:00 UTC
SECRET = "xoxb-4711-geheim"


# -- servers ---------------------------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A web server. `how` is what it does with the next requests: a status, `hang`, `close`, `late` (takes it, and answers too late)."""

    address: str = ""
    how: str = "200"
    got: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    let_go: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def hook() -> Iterator[Hook]:
    known = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            known.asked += 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if known.how in ("hang", "late"):
                known.let_go.wait(30)
            if known.how in ("hang", "close"):
                self.close_connection = True
                return
            if known.how in ("200", "late"):
                known.got.append(body)
            self.send_response(200 if known.how == "late" else int(known.how))
            if known.how == "302":
                self.send_header("Location", f"{known.address}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    known.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield known
    known.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@dataclass
class PostOffice:
    """A mail server. `says` are answers in place of the usual ones, by the beginning of a command."""

    address: str = ""
    says: dict[str, str] = field(default_factory=dict)
    got: list[Any] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    hangs: bool = False
    let_go: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    known = PostOffice()

    class Conversation(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            if known.hangs:
                known.let_go.wait(30)
                return
            self.say(known.says.get("", "220 post office"))
            while line := self.rfile.readline().decode().strip():
                answer = next((answer for begin, answer in known.says.items() if begin and line.upper().startswith(begin.upper())), None)
                if answer is None and line.upper().startswith("RCPT"):
                    known.recipients.append(line.partition("<")[2].partition(">")[0])
                if line.upper() == "DATA" and answer is None:
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part.removeprefix(b".").replace(b"\r\n", b"\n"))
                    answer = known.says.get(".", "250 taken")
                    if answer.startswith("250"):
                        known.got.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
                self.say(answer or ("221 bye" if line.upper() == "QUIT" else "250 ok"))
                if line.upper() == "QUIT":
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Conversation)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    known.address = f"127.0.0.1:{server.server_address[1]}"
    yield known
    known.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def webhook(desk: Any, hook: Hook) -> Callable[..., Webhook]:
    def make(address: str | None = None, **values: Any) -> Webhook:
        settings = {"name": "ops", "url": f"{address or hook.address}/{SECRET}"} | values
        return Webhook(WebhookSettings.model_validate(settings), desk.site, answer_s=0.3)

    return make


@pytest.fixture
def mail(desk: Any, post_office: PostOffice) -> Mail:
    content = {"server": post_office.address, "from": "prompt@cern.ch", "to": ["shift@cern.ch", "anna@cern.ch"]}
    return Mail(MailSettings.model_validate(content), desk.site, answer_s=0.3)


def raise_one(desk: Any, finding: Any, target: Any) -> None:
    desk.inbox = target
    desk.look(finding())
    desk.look(finding())


def kept(desk: Any) -> list[Any]:
    with desk.store.read() as connection:
        return list(connection.execute(sa.select(notice_table).order_by(notice_table.c.id)).all())


# -- the webhook -----------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_what_the_documentation_says(desk: Any, finding: Any, hook: Hook, webhook: Any) -> None:
    raise_one(desk, finding, webhook())
    assert Sender(desk.store, webhook(), clock=lambda: desk.now).send(desk.now) == 1
    (body,) = hook.got
    alarm = body.pop("alarm")
    assert body == {
        "schema": 1,
        "id": "test-np04-notice-1",
        "site": "test-np04",
        "what": "raised",
        "at": NOW + 60,
        "text": "[test-np04] WARNING: tasks: tasks are parked\n9 are parked\nhttp://127.0.0.1:8080/jobs",
    }
    assert (alarm["id"], alarm["key"], alarm["rule"], alarm["severity"]) == (1, "parked:tasks", "parked", "warning")
    assert (alarm["raised_at"], alarm["cleared_at"], alarm["owner"]) == (NOW + 60, None, "shifter")
    text = (Path(__file__).parents[3] / "docs" / "alarms.md").read_text("utf-8")
    for key in (*body, *(f"alarm.{key}" for key in alarm if key not in ("key", "rule", "severity", "subject"))):
        assert f"`{key}`" in text, key


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("500", "it answers with HTTP 500"),
        ("404", "it answers with HTTP 404"),
        ("302", "it answers with HTTP 302"),
        ("hang", "it does not answer in time"),
        ("close", "no connection to it, or it closed it"),
    ],
)
def test_a_webhook_that_misbehaves_gets_it_later_and_once(desk: Any, finding: Any, hook: Hook, webhook: Any, how: str, why: str) -> None:
    raise_one(desk, finding, webhook())
    sender = Sender(desk.store, webhook(), clock=lambda: desk.now)
    hook.how = how
    assert sender.send(desk.now) == 0
    (notice,) = kept(desk)
    assert (notice.sent_at, notice.tries, notice.next_try, notice.error) == (None, 1, desk.now + 15, why)
    hook.how = "200"
    assert sender.send(desk.now + 14) == 0
    desk.now += 15
    assert sender.send(desk.now) == 1
    assert sender.send(desk.now + 1e6) == 0
    assert [body["id"] for body in hook.got] == ["test-np04-notice-1"]
    (notice,) = kept(desk)
    assert (notice.sent_at, notice.error) == (desk.now, None)


def test_what_arrived_but_was_answered_too_late_comes_twice_with_one_id(desk: Any, finding: Any, hook: Hook, webhook: Any) -> None:
    raise_one(desk, finding, webhook())
    sender = Sender(desk.store, webhook(), clock=lambda: desk.now)
    hook.how = "late"
    assert sender.send(desk.now) == 0
    hook.let_go.set()
    desk.now += 15
    hook.how = "200"
    assert sender.send(desk.now) == 1
    deadline = time.monotonic() + 10
    while len(hook.got) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [body["id"] for body in hook.got] == ["test-np04-notice-1"] * 2


def test_one_that_cannot_be_reached_is_tried_less_and_less_often(desk: Any, finding: Any, webhook: Any) -> None:
    target = webhook(f"http://127.0.0.1:{closed_port()}")
    raise_one(desk, finding, target)
    sender = Sender(desk.store, target, clock=lambda: desk.now)
    pauses = []
    for _ in range(9):
        assert sender.send(desk.now) == 0
        (notice,) = kept(desk)
        pauses.append(notice.next_try - desk.now)
        desk.now = notice.next_try
    assert pauses == [15, 30, 60, 120, 240, 480, 900, 900, 900]


def test_the_address_of_a_webhook_is_told_nowhere(desk: Any, finding: Any, webhook: Any, hook: Hook, capfd: Any, tmp_path: Path) -> None:
    target = webhook(f"http://127.0.0.1:{closed_port()}")
    raise_one(desk, finding, target)
    Sender(desk.store, target, clock=lambda: desk.now).send(desk.now)
    for how in ("500", "hang", "close"):
        hook.how = how
        with pytest.raises(TransientError) as caught:
            webhook().send(trial_notice(1, NOW))
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in str([tuple(row) for row in kept(desk)])
    with desk.store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert SECRET.encode() not in (tmp_path / "store.sqlite").read_bytes()


def test_an_address_in_a_file_is_read_at_every_notice(webhook: Any, hook: Hook, tmp_path: Path) -> None:
    path = tmp_path / "address"
    target = webhook(url=None, url_file=path)
    with pytest.raises(ConfigError, match="address: the address cannot be read"):
        target.send(trial_notice(1, NOW))
    path.write_text(SECRET)
    with pytest.raises(ConfigError, match="holds no address") as caught:
        target.send(trial_notice(1, NOW))
    assert SECRET not in str(caught.value)
    path.write_text(f"{hook.address}/{SECRET}\n")
    target.send(trial_notice(1, NOW))
    assert [body["what"] for body in hook.got] == ["test"]


# -- mail ------------------------------------------------------------------------------------------------------------------


def test_a_mail_says_what_it_means_and_what_to_do_and_those_of_an_alarm_are_a_thread(
    desk: Any, finding: Any, mail: Mail, post_office: PostOffice
) -> None:
    raise_one(desk, finding, mail)
    desk.look()
    assert Sender(desk.store, mail, clock=lambda: desk.now).send(desk.now) == 2
    raised, cleared = post_office.got
    assert post_office.recipients == ["shift@cern.ch", "anna@cern.ch"] * 2
    assert raised["Subject"] == "[test-np04] WARNING: tasks: tasks are parked"
    assert cleared["Subject"] == "[test-np04] CLEARED: tasks: tasks are parked"
    text = raised.get_content()
    for part in ("9 are parked", "What it means", "They failed their last allowed attempt", "What to do", "Owner: shifter", "/alarms"):
        assert part in text
    assert "over since 2024-06-19 11:11:30 UTC, after 30\u202fs (cleared by the rule). It was: 9 are parked" in cleared.get_content()
    assert raised["Message-ID"] != cleared["Message-ID"]
    assert raised["References"] == cleared["References"] == "<test-np04-alarm-1@dune-prompt>"


def test_a_subject_from_outside_makes_no_header_of_its_own(desk: Any, finding: Any, mail: Mail, post_office: PostOffice) -> None:
    desk.inbox = mail
    for _ in range(2):
        desk.look(finding("x\r\nBcc: eve@example.org\r\n\r\nhello", message="y\n.\nz"))
    assert Sender(desk.store, mail, clock=lambda: desk.now).send(desk.now) == 1
    (got,) = post_office.got
    assert got["Bcc"] is None
    assert "Bcc: eve@example.org hello" in got["Subject"]
    assert "y\n.\nz" in got.get_content()


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ({"": "554 not today"}, "127.0.0.1: 554 not today"),
        ({"MAIL": "451 try later"}, "127.0.0.1: 451 try later"),
        ({"RCPT": "550 who?"}, "127.0.0.1 takes it for nobody: shift@cern.ch: 550 who?; anna@cern.ch: 550 who?"),
        ({"DATA": "452 no room"}, "127.0.0.1: 452 no room"),
        ({".": "554 looks like spam"}, "127.0.0.1: 554 looks like spam"),
    ],
)
def test_a_mail_server_that_refuses_is_asked_again_later(
    desk: Any, finding: Any, mail: Mail, post_office: PostOffice, says: dict[str, str], why: str
) -> None:
    raise_one(desk, finding, mail)
    sender = Sender(desk.store, mail, clock=lambda: desk.now)
    post_office.says = says
    assert sender.send(desk.now) == 0
    (notice,) = kept(desk)
    assert (notice.error, notice.tries) == (why, 1)
    post_office.says = {}
    assert sender.send(desk.now + 15) == 1
    assert len(post_office.got) == 1


def test_a_mail_that_one_recipient_gets_has_arrived(desk: Any, finding: Any, mail: Mail, post_office: PostOffice) -> None:
    raise_one(desk, finding, mail)
    post_office.says = {"RCPT TO:<anna": "550 who?"}
    assert Sender(desk.store, mail, clock=lambda: desk.now).send(desk.now) == 1
    assert post_office.recipients == ["shift@cern.ch"]


def test_a_mail_server_that_hangs_or_is_away_is_left_after_a_while(mail: Mail, desk: Any, post_office: PostOffice) -> None:
    post_office.hangs = True
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"127\.0\.0\.1: "):
        mail.send(trial_notice(1, NOW))
    assert time.monotonic() - began < 5
    content = {"server": f"127.0.0.1:{closed_port()}", "from": "a@b.ch", "to": ["c@d.ch"]}
    with pytest.raises(TransientError, match="Connection refused"):
        Mail(MailSettings.model_validate(content), desk.site).send(trial_notice(1, NOW))


# -- the way ---------------------------------------------------------------------------------------------------------------


def test_no_notice_overtakes_one_that_waits(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    sender = Sender(desk.store, desk.inbox, clock=lambda: desk.now)
    desk.inbox.refuses = True
    assert sender.send(desk.now) == 0
    desk.look(after_s=5)
    desk.inbox.refuses = False
    assert sender.send(desk.now) == 0
    desk.now += 15
    assert sender.send(desk.now) == 2
    assert [notice.what for notice in desk.inbox.got] == ["raised", "cleared"]


def test_a_fault_in_the_code_of_a_target_waits_as_any_other_and_tells_no_secret(desk: Any, finding: Any, monkeypatch: Any) -> None:
    desk.look(finding())
    desk.look(finding())

    def fail(_notice: Any) -> None:
        raise UnicodeError(f"https://example.org/{SECRET}")

    monkeypatch.setattr(desk.inbox, "send", fail)
    assert Sender(desk.store, desk.inbox, clock=lambda: desk.now).send(desk.now) == 0
    (notice,) = kept(desk)
    assert (notice.error, notice.next_try) == ("a fault in the code: UnicodeError", desk.now + 15)


def test_a_target_is_told_only_what_it_wants(desk: Any, finding: Any) -> None:
    desk.inbox.events = ("raised",)
    desk.look(finding())
    desk.look(finding())
    desk.look()
    assert [what for _, what in desk.notices()] == ["raised"]


def test_a_round_ends_so_that_a_stop_need_not_wait(desk: Any, finding: Any) -> None:
    desk.set(watch={"after": {"parked": 1}})
    desk.look(*(finding(f"{i}") for i in range(MOST_A_ROUND + 3)))
    sender = Sender(desk.store, desk.inbox, clock=lambda: desk.now)
    assert [sender.send(desk.now), sender.send(desk.now), sender.send(desk.now)] == [MOST_A_ROUND, 3, 0]


def test_how_each_target_is_served_can_be_seen(desk: Any, finding: Any) -> None:
    desk.look(finding())
    desk.look(finding())
    sender = Sender(desk.store, desk.inbox, clock=lambda: desk.now)
    desk.inbox.refuses = True
    sender.send(desk.now)
    with desk.store.read() as connection:
        waits, other = deliveries(connection, [desk.inbox.name, "mail"])
    assert (waits.waiting, waits.waiting_since, waits.error, waits.sent_at) == (1, NOW + 60, "not today", None)
    assert (other.waiting, other.error, other.sent_at) == (0, None, None)
    desk.inbox.refuses = False
    desk.now += 15
    sender.send(desk.now)
    with desk.store.read() as connection:
        (sent,) = deliveries(connection, [desk.inbox.name])
    assert (sent.waiting, sent.error, sent.sent_at) == (0, None, NOW + 75)


def test_a_target_that_hangs_holds_up_neither_the_looks_nor_the_others(desk: Any, finding: Any, hook: Hook, inbox: Any) -> None:
    hook.how = "hang"
    hanging = Webhook(WebhookSettings.model_validate({"name": "hangs", "url": hook.address}), desk.site, answer_s=20)

    desk.inbox = hanging
    desk.look(finding())
    desk.look(finding())
    desk.inbox = inbox
    desk.look(finding(), finding("other"))
    desk.look(finding(), finding("other"))
    work = [Repeated(target.name, 0.05, Sender(desk.store, target).send) for target in (hanging, inbox)]
    for each in work:
        each.start()
    deadline = time.monotonic() + 10
    while not (hook.asked and inbox.got) and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    desk.look(finding("something new"))
    assert time.monotonic() - began < 2
    assert (hook.asked, [notice.what for notice in inbox.got]) == (1, ["raised"])
    hook.let_go.set()
    for each in work:
        each.stop()


def test_the_targets_are_those_of_the_site_file(desk: Any) -> None:
    assert targets_of(desk.site) == []
    hooks = [{"name": "a", "url": "http://x"}, {"name": "b", "url_file": "/x", "events": ["cleared"]}]
    desk.set(alarms={"webhook": hooks, "mail": {"server": "x", "from": "a@b", "to": ["c@d"]}})
    targets = targets_of(desk.site)
    assert [target.name for target in targets] == ["webhook:a", "webhook:b", "mail"]
    assert list(targets[1].events) == ["cleared"]
