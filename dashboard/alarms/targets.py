"""Whom notices go to: webhooks and mail. Why one was not delivered is told without the webhook's address: there may be a secret in it."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import requests
import structlog

from dashboard.alarms.notices import Notice
from dashboard.alarms.payload import as_json, as_mail
from dune_prompt import __version__
from dune_prompt.errors import ConfigError, DunePromptError, TransientError
from dune_prompt.settings import Site
from dune_prompt.settings.alarms import MailSettings, NoticeKind, WebhookSettings

log = structlog.get_logger(__name__)

CONNECT_S, ANSWER_S = 5.0, 8.0
ALL: tuple[NoticeKind, ...] = ("raised", "returned", "cleared")


class Target(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> str: ...

    @property
    def events(self) -> Collection[NoticeKind]: ...

    def send(self, notice: Notice) -> None:
        """Deliver a notice.

        Raises:
            TransientError, ConfigError: it was not delivered, as far as is known.
        """


class Webhook:
    """An address that gets each notice as JSON."""

    def __init__(self, settings: WebhookSettings, site: Site, *, answer_s: float = ANSWER_S) -> None:
        self._settings, self._site, self._answer_s = settings, site, answer_s
        self.name = f"webhook:{settings.name}"
        self.events = settings.events

    def send(self, notice: Notice) -> None:
        """POST it. Any answer of the 200s counts; a redirection does not."""
        settings = self._settings
        url = _address_in(settings.url_file) if settings.url_file is not None else str(settings.url)
        try:
            with requests.post(
                url,
                json=as_json(notice, self._site),
                headers={"User-Agent": f"dune-prompt/{__version__}"},
                timeout=(min(CONNECT_S, self._answer_s), self._answer_s),
                allow_redirects=False,
                stream=True,
            ) as answer:
                status = answer.status_code
        except requests.RequestException as error:
            raise TransientError(_reason(error)) from None
        if not 200 <= status < 300:
            raise TransientError(f"it answers with HTTP {status}")


class Mail:
    """A mail server."""

    name = "mail"
    events = ALL

    def __init__(self, settings: MailSettings, site: Site, *, answer_s: float = ANSWER_S) -> None:
        self._settings, self._site, self._answer_s = settings, site, answer_s

    def send(self, notice: Notice) -> None:
        """Hand it to the mail server; it is delivered when the server takes it for one of the recipients."""
        mail = as_mail(notice, self._site, self._settings.from_, self._settings.to)
        host, port = self._settings.address
        try:
            with smtplib.SMTP(host, port, timeout=self._answer_s) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls(context=_OPPORTUNISTIC)
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise TransientError(f"{host} takes it for nobody: {_answers(error.recipients)}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise TransientError(f"{host}: {_smtp_reason(error)}") from None
        if refused:
            log.warning("mail not taken for all", server=host, refused=_answers(refused))


# The server is the site's own; what it cannot prove is no reason to keep an alarm back.
_OPPORTUNISTIC = ssl.create_default_context()
_OPPORTUNISTIC.check_hostname = False
_OPPORTUNISTIC.verify_mode = ssl.CERT_NONE


def targets_of(site: Site) -> list[Target]:
    """Everybody the site file names."""
    targets: list[Target] = [Webhook(settings, site) for settings in site.alarms.webhook]
    if site.alarms.mail is not None:
        targets.append(Mail(site.alarms.mail, site))
    return targets


def deliver(target: Target, notice: Notice) -> str | None:
    """Deliver a notice; why it was not, None when it was."""
    try:
        target.send(notice)
    except DunePromptError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, others are told of it, and the notice is tried again later
        # Its message and traceback may tell the address.
        return f"a fault in the code: {type(error).__name__}"
    return None


def _address_in(path: Path) -> str:
    try:
        address = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the address cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{path}: holds no address (http:// or https://)")
    return address


def _reason(error: requests.RequestException) -> str:
    """Why there is no answer. The messages of requests tell the address."""
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.ConnectionError):
        return "no connection to it, or it closed it"
    return f"it cannot be asked ({type(error).__name__})"


def _smtp_reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return str(error) or type(error).__name__


def _answers(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{who}: {code} {_text(said)}" for who, (code, said) in refused.items())


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
