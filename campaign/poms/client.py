"""Talks to a POMS server, and believes what it does rather than what it says.

POMS answers HTTP 200 to uploads it refuses, sends a page where data are expected, and says "see other" both for "done" and for "log in
first". Here the body, or the address it sends us to, decides; everything else becomes one of our errors, with the server's own words.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import requests
from requests.auth import AuthBase

from campaign.poms import pages
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.settings.launchers import PomsLauncherSettings

CONNECT_S, READ_S = 10.0, 120.0
WORDS_LIMIT = 300

# What `update_submission` knows; it ignores any other word, and says "Ok.".
STATUSES = frozenset(
    {
        "New",
        "Cancelled",
        "LaunchFailed",
        "Awaiting Approval",
        "Approved",
        "Idle",
        "Running",
        "Held",
        "Failed",
        "Completed",
        "Located",
        "Removed",
    }
)

_LATER = frozenset({408, 425, 429})
_HELD = 423
# POMS turns every exception into a 400; these are not about the request.
_OUTAGE = re.compile(r"\b(OperationalError|InterfaceError|PendingRollbackError|TimeoutError|ConnectionError)\b|internal error occurred")
_UNSEEN = re.compile(r"<(head|style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_NO_CAMPAIGN = "Error: Campaign "


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """What POMS says it made of an ini: its numbers for the campaign and the stages, and its warnings."""

    campaign_id: int
    stage_ids: Mapping[str, int]
    message: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PomsStage:
    """A stage in POMS. `held`: it launches nothing, and queues what it is asked for."""

    id: int
    name: str
    dataset: str
    held: bool


@dataclass(frozen=True, slots=True)
class PomsSubmission:
    """A launch in POMS. `job_id`: jobsub's id, once it was reported; `dataset`: None in lists, where POMS does not tell it."""

    id: int
    job_id: str | None
    status: str | None
    created: str | None
    stage: str | None
    dataset: str | None = None


class PomsClient:
    """One experiment and role on one POMS server.

    `proxy`: the X.509 proxy we show; `bearer_file`: file with a bearer token, read again at each request, as it is renewed every hour.
    The token goes only over https, or to this machine. `ca`: certificate authorities the server is checked against, a file or folder;
    None: those of `requests` and its environment variables.
    """

    def __init__(self, url: str, experiment: str, role: str, *, proxy: Path | None, bearer_file: Path | None, ca: Path | None) -> None:
        self.url, self.experiment, self.role = url.rstrip("/"), experiment, role
        self._proxy, self._bearer = proxy, _Bearer(bearer_file)
        self._verify: str | bool = True if ca is None else str(ca)
        self._session = requests.Session()
        self._session.auth = self._bearer

    @classmethod
    def of(cls, settings: PomsLauncherSettings, environ: Mapping[str, str] = os.environ) -> Self:
        """The client of a site file's launcher."""
        proxy = None if settings.bearer_file else settings.proxy or _proxy_of(environ)
        return cls(str(settings.url), settings.group, settings.poms_role, proxy=proxy, bearer_file=settings.bearer_file, ca=settings.ca)

    @classmethod
    def of_environment(cls, url: str, experiment: str, environ: Mapping[str, str], *, role: str = "production") -> Self:
        """The client of a launch, which POMS gives a proxy, a bearer token or both: the proxy, as POMS's own client, else the token."""
        proxy = _proxy_of(environ)
        token = environ.get("BEARER_TOKEN_FILE")
        return cls(url, experiment, role, proxy=proxy, bearer_file=Path(token) if token and proxy is None else None, ca=None)

    def close(self) -> None:
        self._session.close()

    # Campaigns

    def campaign_id(self, name: str) -> int | None:
        """POMS's number of a campaign; None: it has none of this name."""
        return self._number(self._json("GET", "get_campaign_id", {"campaign_name": name}), "get_campaign_id")

    def stage_id(self, campaign: str, stage: str) -> int | None:
        """POMS's number of a campaign's stage; None: it has none of this name."""
        arguments = {"campaign_name": campaign, "campaign_stage_name": stage}
        return self._number(self._json("GET", "get_campaign_stage_id", arguments), "get_campaign_stage_id")

    def stages(self, campaign: str) -> tuple[PomsStage, ...]:
        """The campaign's stages, in POMS's order; none as well where there is no such campaign."""
        method = "show_campaign_stages"
        # Without a word about the view, the stages of inactive campaigns are left out.
        answer = self._json("GET", method, {"campaign_name": campaign, "update_view": "1", "fmt": "json"})
        try:
            return tuple(
                PomsStage(int(row["campaign_stage_id"]), row["name"], row["dataset"], row["hold_experimenter_id"] is not None)
                for row in answer["campaign_stages"]
            )
        except (KeyError, TypeError, ValueError):
            raise self._unreadable(method) from None

    def campaign_ini(self, name: str) -> str | None:
        """The campaign as POMS exports it, which is not what was uploaded (see `campaign.poms.comparison`); None: there is none."""
        method = "campaign_deps_ini"
        text = self._text(method, self._request("GET", method, {"name": name})).lstrip()
        if text.startswith(_NO_CAMPAIGN):
            return None
        if not text.startswith("[campaign]"):
            raise self._page_instead(method, text)
        return text

    def upload_ini(self, text: str) -> UploadAnswer:
        """Create or overwrite the campaign in an ini. Not transactional there: look at what came of it.

        Raises:
            ConfigError: POMS refuses it, as it does with HTTP 200; a part of it may have been kept.
        """
        method = "ini_to_campaign"
        answer = self._json("POST", method, {"pcl_call": "1"}, files={"upload": ("campaign.ini", text.encode(), "text/plain")})
        if not isinstance(answer, dict):
            raise ConfigError(f"{self._where(method)}: refused: {self._words(str(answer))}")
        said = answer.get("message")
        message = tuple(self._words(str(item)) for item in (said if isinstance(said, list) else [said]) if item not in (None, "OK"))
        status = str(answer.get("status", "without a status"))
        if not status.startswith("2"):
            raise ConfigError(f"{self._where(method)}: refused ({self._words(status)}): {'; '.join(message) or 'no reason given'}")
        try:
            stages = {str(name): int(number) for number, name in answer["campaign_stage_ids"]}
            return UploadAnswer(int(answer["campaign_id"]), stages, message)
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"{self._where(method)}: says {self._words(status)} without the numbers of campaign and stages") from None

    def activate(self, campaign: str) -> None:
        """Show the campaign among the active ones again."""
        self._mark(campaign, active=True)

    def retire(self, campaign: str) -> None:
        """Take the campaign from the active ones. A launch makes it active again: remove schedules first."""
        self._mark(campaign, active=False)

    # Stages

    def schedule(self, stage_id: int, every_minutes: int) -> None:
        """Launch the stage every so many minutes, in place of its schedule so far.

        Raises:
            ConfigError: cron cannot do that.
        """
        self._redirected("update_launch_schedule", {"campaign_stage_id": stage_id, **_cron(every_minutes)}, "schedule_launch")

    def unschedule(self, stage_id: int) -> None:
        """Launch the stage on no schedule; done as well if it has none."""
        self._redirected("update_launch_schedule", {"campaign_stage_id": stage_id, "delete": "1"}, "schedule_launch")

    def hold(self, stage_ids: Sequence[int]) -> None:
        """Launch nothing of these stages. POMS removes their schedules too, and queues launches asked for by hand or by a parent."""
        self._hold(stage_ids, "Hold")

    def release(self, stage_ids: Sequence[int]) -> None:
        """Take the hold away. It does not bring the schedule back."""
        self._hold(stage_ids, "Release")

    def launch(self, stage_id: int, dataset: str | None = None, test: bool = False) -> int:
        """Launch the stage once, now; POMS's number of the submission.

        Never repeated here: POMS launches again each time it is asked.

        Raises:
            ConflictError: the stage is held; POMS has queued the launch.
        """
        arguments = {"campaign_stage_id": stage_id, "dataset_override": dataset, "test_launch": "1" if test else None}
        location = self._redirected("launch_jobs", arguments, "list_launch_file")
        number = parse_qs(urlsplit(location).query).get("fname", [""])[0].rpartition("_")[2]
        if not number.isdecimal():
            raise ConfigError(f"{self._where('launch_jobs')}: launched, but {self._words(location)} names no submission")
        return int(number)

    # Submissions

    def submissions(self, stage_id: int, days: float = 7.0) -> tuple[PomsSubmission, ...]:
        """The stage's submissions of the last days, oldest first. POMS asks SAM about each of them, which takes its time."""
        method = "campaign_stage_submissions"
        answer = self._json("GET", method, {"campaign_stage_id": stage_id, "tdays": days, "fmt": "json"})
        try:
            rows = answer["data"].get("submissions", [])
            return tuple(
                PomsSubmission(
                    int(row["submission_id"]), row["jobsub_job_id"] or None, row["status"], row["created"], row["campaign_stage_name"]
                )
                for row in rows
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._unreadable(method) from None

    def submission(self, submission_id: int) -> PomsSubmission:
        """One submission.

        Raises:
            ConfigError: POMS does not know it.
        """
        method = "submission_details"
        answer = self._json("GET", method, {"submission_id": submission_id, "fmt": "json"})
        try:
            row, history = answer["submission"], answer["history"]
            stage = (row.get("campaign_stage_obj") or {}).get("name")
            status = answer["statusmap"][str(history[-1]["status_id"])] if history else None
            return PomsSubmission(
                int(row["submission_id"]), row["jobsub_job_id"] or None, status, row["created"], stage, answer.get("dataset")
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise self._unreadable(method) from None

    def update_submission(
        self, submission_id: int, *, job_id: str, status: str | None = None, pct: float | None = None, project: str | None = None
    ) -> None:
        """Tell POMS jobsub's id of a submission, and how far it is. `pct` counts only with the status Running.

        Raises:
            ConfigError: no job id, a status POMS would ignore, or a submission it does not know.
        """
        method = "update_submission"
        if not job_id:
            raise ConfigError(f"submission {submission_id}: POMS takes no update without a job id")
        if status is not None and status not in STATUSES:
            raise ConfigError(
                f"submission {submission_id}: POMS would ignore the status {status!r}; it knows {', '.join(sorted(STATUSES))}"
            )
        arguments = {
            "submission_id": submission_id,
            "jobsub_job_id": job_id,
            "status": status,
            "pct_complete": None if pct is None else f"{pct:g}",
            "project": project,
        }
        self._accepted(method, submission_id, self._request("POST", method, arguments))

    def force_locate(self, submission_id: int) -> None:
        """Have POMS take the submission's outputs for located, so that the stages after it start."""
        method = "force_locate_submission"
        self._accepted(method, submission_id, self._request("POST", method, {"submission_id": submission_id}))

    # Pages for people

    def submission_page(self, submission_id: int) -> str:
        """Address of a submission's page."""
        return pages.submission(self.url, self.experiment, self.role, submission_id)

    def campaign_page(self, name: str) -> str:
        """Address of a campaign's page."""
        return pages.campaign(self.url, self.experiment, self.role, name)

    # How POMS is spoken to

    def _mark(self, campaign: str, *, active: bool) -> None:
        """POMS answers this with nothing, whatever it did: look."""
        method = "mark_campaign_active"
        number = self.campaign_id(campaign)
        if number is None:
            raise ConfigError(f"{self._where(method)}: there is no campaign {campaign!r}")
        text = self._text(method, self._request("POST", method, {"campaign_id": number, "is_active": str(active)}))
        wanted = "Active" if active else "Inactive"
        if f"state={wanted}" not in (self.campaign_ini(campaign) or "").splitlines():
            said = self._words(text) or "nothing"
            raise ConflictError(f"{self._where(method)}: {campaign} is not {wanted.lower()} after it; POMS said {said}")

    def _hold(self, stage_ids: Sequence[int], what: str) -> None:
        if stage_ids:
            arguments = {"ids2HR": ",".join(str(number) for number in stage_ids), "is_hold": what}
            self._redirected("mark_campaign_hold", arguments, "show_campaign_stages")

    def _accepted(self, method: str, submission_id: int, answer: requests.Response) -> None:
        """Nothing, if POMS took it.

        Raises:
            ConfigError: it did not.
        """
        text = self._text(method, answer).strip()
        if text == "Unknown.":
            raise ConfigError(f"{self._where(method)}: POMS knows no submission {submission_id}")
        if text != "Ok.":
            raise self._page_instead(method, text)

    def _redirected(self, method: str, arguments: Mapping[str, Any], page: str) -> str:
        """The address POMS sends us to when it has done it: one of its `page`."""
        answer = self._request("POST", method, arguments)
        location = answer.headers.get("Location", "")
        if answer.status_code != requests.codes.see_other:
            raise self._page_instead(method, answer.text)
        if f"/{page}" not in urlsplit(location).path:
            raise self._login(method)
        return location

    def _json(self, http: str, method: str, arguments: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> Any:
        text = self._text(method, self._request(http, method, arguments, files))
        try:
            return json.loads(text)
        except ValueError:
            raise self._page_instead(method, text) from None

    def _text(self, method: str, answer: requests.Response) -> str:
        """The body of an answer that may not send us elsewhere."""
        if 300 <= answer.status_code < 400:
            raise self._login(method)
        return answer.text

    def _request(self, http: str, method: str, arguments: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> requests.Response:
        """An answer with a status below 400. Reading is GET, writing POST, so that nothing between us repeats or keeps it."""
        given = {key: value for key, value in arguments.items() if value is not None}
        where = self._where(method)
        try:
            answer = self._session.request(
                http,
                self._address(method),
                params=given if http == "GET" else None,
                data=given if http == "POST" else None,
                files=files,
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
                verify=self._verify,
                # requests looks for the file even where there is no TLS.
                cert=str(self._proxy) if self._proxy is not None and self.url.startswith("https:") else None,
            )
        except requests.exceptions.SSLError as error:
            raise ConfigError(f"{where}: certificates do not work: {self._words(str(error))}") from None
        except requests.Timeout:
            raise TransientError(f"{where}: no answer in time; whether it was done is not known") from None
        except requests.RequestException as error:
            raise TransientError(f"{where}: {self._words(str(error))}") from None
        except OSError as error:  # a certificate file that is not there
            raise ConfigError(f"{where}: {self._words(str(error))}") from None
        answer.encoding = "utf-8"
        if answer.status_code >= 400:
            self._raise_for(where, answer.status_code, answer.text)
        return answer

    def _raise_for(self, where: str, status: int, body: str) -> None:
        words = self._words(body)
        if status >= 500 or status in _LATER or _OUTAGE.search(body):
            raise TransientError(f"{where}: POMS is in trouble ({status}): {words}")
        if status == _HELD:
            raise ConflictError(f"{where}: the stage is held; POMS has queued the launch: {words}")
        if status in (401, 403):
            raise ConfigError(f"{where}: no right to do this with {self._shown()} ({status}): {words}")
        if status in (404, 405):
            raise ConfigError(f"{where}: nothing there ({status}); is the address of POMS right?")
        raise ConfigError(f"{where}: refused ({status}): {words}")

    def _page_instead(self, method: str, text: str) -> ConfigError | TransientError:
        """A page with status 200, or words, in place of the answer."""
        kind = TransientError if _OUTAGE.search(text) else ConfigError
        return kind(f"{self._where(method)}: not the answer that was expected: {self._words(text) or 'nothing'}")

    def _login(self, method: str) -> ConfigError:
        return ConfigError(f"{self._where(method)}: POMS sends us to log in; it does not accept {self._shown()}")

    def _unreadable(self, method: str) -> ConfigError:
        return ConfigError(f"{self._where(method)}: the answer has another form than that of POMS 4.4")

    def _number(self, answer: Any, method: str) -> int | None:
        if answer is None or (isinstance(answer, int) and not isinstance(answer, bool)):
            return answer
        raise ConfigError(f"{self._where(method)}: no number: {self._words(str(answer))}")

    def _shown(self) -> str:
        """Which credential we show, for messages."""
        if self._bearer.file is not None:
            return f"the bearer token in {self._bearer.file}"
        return "no credential" if self._proxy is None else f"the proxy {self._proxy}"

    def _address(self, method: str) -> str:
        return pages.address(self.url, self.experiment, self.role, method)

    def _where(self, method: str) -> str:
        return f"POMS at {urlsplit(self.url).netloc}: {method}"

    def _words(self, text: str) -> str:
        """What a server says, on one line, short, without markup and without our token."""
        if _is_page(text):
            text = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
        if token := self._bearer.token():
            text = text.replace(token, "…")
        line = " ".join(text.split())
        return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


class _Bearer(AuthBase):
    """Puts the token of a file into requests nobody else can read; without a file nothing, not even what a .netrc says."""

    def __init__(self, file: Path | None) -> None:
        self.file = file

    def token(self) -> str | None:
        if self.file is None:
            return None
        try:
            return self.file.read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        address = urlsplit(request.url or "")
        private = address.scheme == "https" or address.hostname in ("127.0.0.1", "localhost", "::1")
        if private and (token := self.token()):
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def _is_page(text: str) -> bool:
    return text.lstrip()[:200].lower().startswith(("<!doctype", "<html", "<h1", "<body"))


def _proxy_of(environ: Mapping[str, str]) -> Path | None:
    """The X.509 proxy of a process: that of X509_USER_PROXY, or where grid tools put it, if it is there."""
    if told := environ.get("X509_USER_PROXY"):
        return Path(told)
    usual = Path(f"/tmp/x509up_u{os.getuid()}")  # noqa: S108 - where grid tools put it
    return usual if usual.is_file() else None


def _cron(every_minutes: int) -> dict[str, str]:
    """The fields of POMS's schedule form for "every so many minutes"."""
    hours, minutes = divmod(every_minutes, 60)
    if 0 < every_minutes < 60:
        return {"minlist": f"*/{minutes}", "hourlist": "*", "dowlist": "*", "domlist": "*"}
    if minutes == 0 and 0 < hours < 24:
        return {"minlist": "0", "hourlist": f"*/{hours}", "dowlist": "*", "domlist": "*"}
    raise ConfigError(f"POMS cannot launch every {every_minutes} minutes: give 1 to 59 minutes, or whole hours below a day")
