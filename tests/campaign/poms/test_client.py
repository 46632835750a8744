"""The client of a POMS server: what it does, and what it makes of answers that are not what they seem."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from campaign.poms.client import PomsClient, PomsStage
from dune_prompt.errors import ConfigError, ConflictError, DunePromptError, TransientError
from dune_prompt.settings.launchers import PomsLauncherSettings
from tests.servers.metacat_parts.certificates import Certificates
from tests.servers.poms import Poms

TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
INI = """
[campaign]
name = pdhd_v1
[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = raw
completion_type = complete
completion_pct = 90
default_clear_cronjob = False
login_setup = login
job_type = script
[campaign_stage nf_sp]
[campaign_stage declare]
[dependencies declare]
campaign_stage_1 = nf_sp
file_pattern_1 = %
[login_setup login]
host = dunegpvm16.fnal.gov
account = dunepro
setup = true
[job_type script]
launch_script = true
output_file_patterns = %
"""


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "bearer"
    path.write_text(TOKEN + "\n")
    return path


class Anything:
    """A server that gives one answer to every request; `authorization` and `subject` are what the last one showed."""

    def __init__(self) -> None:
        self.status, self.body, self.location = 200, "", ""
        self.authorization: str | None = None
        self.subject: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.authorization = self.headers.get("Authorization")
                if isinstance(self.connection, ssl.SSLSocket):
                    outer.subject = str(self.connection.getpeercert())
                content = outer.body.encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(content)))
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Anything:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def encrypt(self, certificates: Certificates) -> None:
        """From now on speak TLS, and ask for a certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
        context.load_cert_chain(certificates.host)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"

    def client(self, **credentials: Any) -> PomsClient:
        return PomsClient(self.url, "dune", "production", **({"proxy": None, "bearer_file": None, "ca": None} | credentials))


@pytest.fixture
def server() -> Iterator[Anything]:
    with Anything() as server:
        yield server


Call = Callable[[PomsClient], object]
CALLS: dict[str, Call] = {
    "campaign_id": lambda client: client.campaign_id("c"),
    "stage_id": lambda client: client.stage_id("c", "s"),
    "stages": lambda client: client.stages("c"),
    "campaign_ini": lambda client: client.campaign_ini("c"),
    "upload_ini": lambda client: client.upload_ini(INI),
    "activate": lambda client: client.activate("c"),
    "retire": lambda client: client.retire("c"),
    "schedule": lambda client: client.schedule(1, 5),
    "unschedule": lambda client: client.unschedule(1),
    "hold": lambda client: client.hold([1]),
    "release": lambda client: client.release([1]),
    "launch": lambda client: client.launch(1),
    "submissions": lambda client: client.submissions(1),
    "submission": lambda client: client.submission(1),
    "update_submission": lambda client: client.update_submission(1, job_id="1@here", status="Idle"),
    "force_locate": lambda client: client.force_locate(1),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_a_campaign_gets_its_numbers(client: PomsClient) -> None:
    assert (client.campaign_id("pdhd_v1"), client.stage_id("pdhd_v1", "nf_sp"), client.campaign_ini("pdhd_v1")) == (None, None, None)
    assert client.stages("pdhd_v1") == ()
    answer = client.upload_ini(INI)
    assert answer.message == ()
    assert client.campaign_id("pdhd_v1") == answer.campaign_id
    assert client.stage_id("pdhd_v1", "declare") == answer.stage_ids["declare"]
    assert client.stages("pdhd_v1") == tuple(PomsStage(number, name, "raw", held=False) for name, number in answer.stage_ids.items())
    assert "[campaign_stage nf_sp]" in (client.campaign_ini("pdhd_v1") or "")


def test_what_poms_keeps_as_it_was_is_said(client: PomsClient) -> None:
    client.upload_ini(INI)
    assert client.upload_ini(INI).message == (
        "Warning: LoginSetup 'login' already exists and will not change.",
        "Warning: JobType 'script' already exists and will not change.",
    )


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        (INI.replace("job_type = script", "job_type = other"), r"400 Bad Request\): Error: JobType 'other' not found!"),
        (INI.replace("[campaign]", "[campaign_]"), "No Campaign section in the file"),
        (INI + "[campaign]\n", "Bad file format .*section 'campaign' already exists"),
        (INI.replace("completion_pct = 90", ""), r"refused \(400\): .*Missing form field: KeyError\('completion_pct'\)"),
        (INI.replace("completion_pct = 90", "completion_pct = 101"), "refused .*ck_campaigns_completion_pct"),
    ],
)
def test_an_upload_that_is_refused_is_refused_whatever_the_status_says(client: PomsClient, ini: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client.upload_ini(ini)


def test_a_schedule_replaces_the_one_before(poms: Poms, client: PomsClient) -> None:
    number = client.upload_ini(INI).stage_ids["nf_sp"]
    for minutes, fields in ((5, "*/5 * * * *"), (1, "* * * * *"), (60, "0 * * * *"), (120, "0 */2 * * *")):
        client.schedule(number, minutes)
        (line,) = poms.crontab
        assert line.startswith(f"{fields} /etc/poms")
    client.unschedule(number)
    client.unschedule(number)
    assert poms.crontab == []


@pytest.mark.parametrize("minutes", [0, -5, 61, 90, 24 * 60])
def test_a_schedule_cron_cannot_keep_is_refused_before_it_is_asked_for(poms: Poms, client: PomsClient, minutes: int) -> None:
    with pytest.raises(ConfigError, match=f"every {minutes} minutes"):
        client.schedule(1, minutes)
    assert poms.requests == []


def test_a_hold_takes_the_schedule_away_and_a_release_does_not_bring_it_back(poms: Poms, client: PomsClient) -> None:
    stages = client.upload_ini(INI).stage_ids
    client.schedule(stages["nf_sp"], 5)
    client.hold([stages["nf_sp"]])
    assert [(stage.name, stage.held) for stage in client.stages("pdhd_v1")] == [("nf_sp", True), ("declare", False)]
    with pytest.raises(ConflictError, match=r"the stage is held; POMS has queued the launch: .*nf_sp launches currently held"):
        client.launch(stages["nf_sp"])
    client.release(list(stages.values()))
    assert [stage.held for stage in client.stages("pdhd_v1")] == [False, False]
    assert poms.crontab == []


def test_holding_nothing_asks_for_nothing(poms: Poms, client: PomsClient) -> None:
    client.hold([])
    assert poms.requests == []


def test_a_campaign_is_retired_and_activated(client: PomsClient) -> None:
    client.upload_ini(INI)
    client.retire("pdhd_v1")
    assert "state=Inactive" in (client.campaign_ini("pdhd_v1") or "")
    assert len(client.stages("pdhd_v1")) == 2
    client.activate("pdhd_v1")
    assert "state=Active" in (client.campaign_ini("pdhd_v1") or "")
    with pytest.raises(ConfigError, match="there is no campaign 'other'"):
        client.retire("other")


def test_a_retirement_poms_does_not_carry_out_is_a_conflict(poms: Poms, client: PomsClient) -> None:
    client.upload_ini(INI)
    poms.faults = {"ok_but_failed": ["mark_campaign_active"]}
    with pytest.raises(ConflictError, match=r"pdhd_v1 is not inactive after it; POMS said Error: the database is away\."):
        client.retire("pdhd_v1")


def test_a_launch_has_the_number_of_its_submission(poms: Poms, client: PomsClient) -> None:
    stages = client.upload_ini(INI).stage_ids
    first = client.launch(stages["nf_sp"])
    second = client.launch(stages["nf_sp"], "other", test=True)
    poms.wait()
    assert [submission.submission_id for submission in poms.submissions] == [first, second]
    assert [client.submission(number).dataset for number in (first, second)] == ["raw", "other"]
    assert poms.submission(second).submission_params["test"]
    assert [(item.id, item.stage, item.status, item.job_id) for item in client.submissions(stages["nf_sp"])] == [
        (first, "nf_sp", "New", None),
        (second, "nf_sp", "New", None),
    ]
    assert client.submissions(stages["declare"]) == ()


def test_a_submission_is_updated(poms: Poms, client: PomsClient) -> None:
    number = client.launch(client.upload_ini(INI).stage_ids["nf_sp"])
    client.update_submission(number, job_id="12@jobsub01.fnal.gov", status="Idle", project="p")
    found = client.submission(number)
    assert (found.id, found.stage, found.job_id, found.status) == (number, "nf_sp", "12@jobsub01.fnal.gov", "Idle")
    assert poms.submission(number).project == "p"
    client.update_submission(number, job_id="12@jobsub01.fnal.gov", status="Running", pct=89.5)
    assert client.submission(number).status == "Running"
    client.update_submission(number, job_id="12@jobsub01.fnal.gov", status="Running", pct=90.0)
    assert client.submission(number).status == "Completed"
    client.force_locate(number)
    assert poms.submission(number).submission_params["force_located"]


@pytest.mark.parametrize(
    ("job_id", "status", "words"),
    [("", "Idle", "takes no update without a job id"), ("1@here", "Done", "would ignore the status 'Done'; it knows .*Completed")],
)
def test_an_update_poms_would_not_take_is_not_sent(poms: Poms, client: PomsClient, job_id: str, status: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client.update_submission(1, job_id=job_id, status=status)
    assert poms.requests == []


def test_a_submission_poms_does_not_know_is_an_error(client: PomsClient) -> None:
    with pytest.raises(ConfigError, match="POMS knows no submission 17"):
        client.update_submission(17, job_id="1@here", status="Idle")
    with pytest.raises(ConfigError, match="submission_details: refused"):
        client.submission(17)


def test_pages_are_where_people_find_them() -> None:
    client = PomsClient("https://pomsgpvm01.fnal.gov/", "dune", "production", proxy=None, bearer_file=None, ca=None)
    assert client.submission_page(7) == "https://pomsgpvm01.fnal.gov/poms/submission_details/dune/production?submission_id=7"
    assert client.campaign_page("a b") == "https://pomsgpvm01.fnal.gov/poms/campaign_overview/dune/production?campaign_name=a+b"


@calls
def test_nobody_listening_is_transient(call: Call) -> None:
    client = PomsClient("http://127.0.0.1:9", "dune", "production", proxy=None, bearer_file=None, ca=None)
    with pytest.raises(TransientError, match=r"POMS at 127\.0\.0\.1:9: "):
        call(client)


@calls
def test_a_connection_that_breaks_is_transient(poms: Poms, client: PomsClient, call: Call) -> None:
    poms.faults = {"down": True}
    with pytest.raises(TransientError, match="POMS at 127"):
        call(client)


@calls
def test_an_answer_that_does_not_come_is_transient(poms: Poms, client: PomsClient, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("campaign.poms.client.READ_S", 0.05)
    poms.faults = {"slow": 0.3}
    with pytest.raises(TransientError, match="no answer in time; whether it was done is not known"):
        call(client)


@calls
def test_trouble_inside_poms_is_transient(server: Anything, call: Call) -> None:
    server.status, server.body = 500, "<html><body><h1>An internal error occurred</h1></body></html>"
    with pytest.raises(TransientError, match=r"in trouble \(500\): An internal error occurred$"):
        call(server.client())


@calls
def test_a_database_that_is_away_behind_a_400_is_transient(server: Anything, call: Call) -> None:
    server.status, server.body = 400, "<html><body><h1>400</h1>Unknown error OperationalError('server closed the connection')</body></html>"
    with pytest.raises(TransientError, match="OperationalError"):
        call(server.client())


@calls
def test_no_right_is_said_with_the_credential_that_was_shown(poms: Poms, call: Call, token_file: Path) -> None:
    poms.faults = {"unauthorized": True}
    client = PomsClient(poms.url, "dune", "production", proxy=None, bearer_file=token_file, ca=None)
    with pytest.raises(ConfigError, match=f"no right to do this with the bearer token in {token_file}"):
        call(client)


@calls
def test_being_sent_to_log_in_is_no_success(server: Anything, call: Call) -> None:
    server.status, server.location = 303, "https://idp.fnal.gov/idp/profile/SAML2"
    with pytest.raises(ConfigError, match="sends us to log in; it does not accept no credential"):
        call(server.client())


@calls
@pytest.mark.parametrize(
    "body",
    [
        "<!DOCTYPE html><html><head><title>x</title><style>h1 {}</style></head><body><h1>400 Bad Request</h1></body></html>",
        "400 Bad Request",
    ],
)
def test_a_page_or_words_in_place_of_an_answer_are_an_error(server: Anything, call: Call, body: str) -> None:
    server.body = body
    with pytest.raises(ConfigError, match=r"not the answer that was expected: 400 Bad Request$"):
        call(server.client())


@calls
def test_a_failure_with_status_200_is_an_error(poms: Poms, client: PomsClient, call: Call) -> None:
    client.upload_ini(INI.replace("pdhd_v1", "c"))
    before = [stage.dataset for stage in client.stages("c")]
    poms.faults = {"ok_but_failed": list(poms._methods)}
    with pytest.raises((ConfigError, ConflictError)):
        call(client)
    poms.faults = {}
    assert [stage.dataset for stage in client.stages("c")] == before


@calls
@pytest.mark.parametrize("body", ["{}", "[]", "17.5", '{"status": "201 Created"}', '{"data": 1, "submission": 2, "campaign_stages": 3}'])
def test_json_of_another_form_is_an_error_of_ours(server: Anything, call: Call, body: str) -> None:
    server.body = body
    with pytest.raises(DunePromptError):
        call(server.client())


@calls
@pytest.mark.parametrize("status", [200, 303, 400, 401, 404, 423, 500])
def test_the_token_is_in_no_message_and_no_log(
    server: Anything, token_file: Path, call: Call, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.status, server.body, server.location = status, f"you sent Bearer {TOKEN}", f"/auth?token={TOKEN}"
    with pytest.raises(DunePromptError) as caught:
        call(server.client(bearer_file=token_file))
    assert server.authorization == f"Bearer {TOKEN}"
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value.__cause__)
    assert TOKEN not in caplog.text


def test_the_token_is_read_again_for_each_request(server: Anything, token_file: Path) -> None:
    server.body = "null"
    client = server.client(bearer_file=token_file)
    client.campaign_id("c")
    token_file.write_text("renewed")
    client.campaign_id("c")
    assert server.authorization == "Bearer renewed"


def test_the_token_does_not_go_unencrypted_over_a_network(server: Anything, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.body = "null"
    client = PomsClient("http://poms.example.org", "dune", "production", proxy=None, bearer_file=token_file, ca=None)
    assert client.campaign_id("c") is None
    assert server.authorization is None


def test_passwords_of_a_netrc_are_not_sent(server: Anything, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.body = "null"
    server.client().campaign_id("c")
    assert server.authorization is None


def test_a_proxy_that_is_not_there_is_a_wrong_setting(poms: Poms, tmp_path: Path) -> None:
    client = PomsClient(poms.url.replace("http:", "https:"), "dune", "production", proxy=tmp_path / "x509", bearer_file=None, ca=None)
    with pytest.raises(ConfigError, match="x509"):
        client.campaign_id("c")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path / "certificates")
    certificates.make()
    return certificates


def test_a_server_is_checked_and_is_shown_the_proxy(server: Anything, certificates: Certificates) -> None:
    server.encrypt(certificates)
    server.body = "17"
    assert server.client(proxy=certificates.user, ca=certificates.authority).campaign_id("c") == 17
    assert "dunepro" in (server.subject or "")
    with pytest.raises(ConfigError, match=r"certificates do not work: .*CERTIFICATE_VERIFY_FAILED"):
        server.client(proxy=certificates.user).campaign_id("c")


def credentials(client: PomsClient) -> tuple[Path | None, Path | None]:
    return client._proxy, client._bearer.file


def test_a_launch_shows_its_proxy_and_without_one_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"X509_USER_PROXY": "/tmp/proxy", "BEARER_TOKEN_FILE": "/tmp/token"}
    assert credentials(PomsClient.of_environment("https://poms", "dune", both)) == (Path("/tmp/proxy"), None)
    monkeypatch.setattr("os.getuid", lambda: 999_999_999)
    token = {"BEARER_TOKEN_FILE": "/tmp/token"}
    assert credentials(PomsClient.of_environment("https://poms", "dune", token)) == (None, Path("/tmp/token"))
    assert credentials(PomsClient.of_environment("https://poms", "dune", {})) == (None, None)


def test_the_site_file_says_what_is_shown(tmp_path: Path) -> None:
    login = {"host": "dunegpvm16.fnal.gov", "token_file": "/t"}
    base: dict[str, Any] = {"kind": "poms", "url": "https://poms.fnal.gov:8443", "login": login, "poms_role": "analysis"}
    environ = {"X509_USER_PROXY": "/tmp/proxy"}

    def client(**more: str) -> PomsClient:
        return PomsClient.of(PomsLauncherSettings.model_validate(base | more), environ)

    assert credentials(client()) == (Path("/tmp/proxy"), None)
    assert credentials(client(proxy="/p")) == (Path("/p"), None)
    assert credentials(client(bearer_file="/b")) == (None, Path("/b"))
    assert client(ca="/etc/grid-security/certificates")._verify == "/etc/grid-security/certificates"
    assert client()._verify is True
    assert client().campaign_page("c").startswith("https://poms.fnal.gov:8443/poms/campaign_overview/dune/analysis?")
