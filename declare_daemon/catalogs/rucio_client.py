"""The connection to a Rucio server, over `rucio-clients`: one login, one session, no request sent twice, and our own errors.

This module imports the client and is itself imported only when a server is first asked. The client is made for people at a terminal;
what is changed here for a daemon: it retries and sleeps by itself, also requests that may have been carried out; it takes a gateway's
error page for a wrong password; it keeps tokens in a file named after the account but not after the server, where they hide a wrong
password; it prints, logs to the terminal, and may wait for somebody to type.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from configparser import Error as ConfigFileError
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from requests import RequestException, Response
from rucio.client.accountclient import AccountClient
from rucio.client.didclient import DIDClient
from rucio.client.pingclient import PingClient
from rucio.client.replicaclient import ReplicaClient
from rucio.client.rseclient import RSEClient
from rucio.client.ruleclient import RuleClient
from rucio.common.config import clean_cached_config
from rucio.common.exception import CannotAuthenticate, RucioException

from declare_daemon.catalogs.rucio_errors import Refused, shorten
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings.catalogs import RucioSettings

T = TypeVar("T")

# The client reads its settings through one variable and one cache of the process.
_SETTINGS = threading.Lock()

_SILENT = logging.getLogger(f"{__name__}.silent")
_SILENT.setLevel(logging.CRITICAL + 1)


class _Client(DIDClient, ReplicaClient, RuleClient, RSEClient, AccountClient, PingClient):  # type: ignore[misc, no-any-unimported, unused-ignore]
    """The parts of rucio-clients that are needed."""

    # One try: what may have been carried out is looked up by the caller, not sent again.
    AUTH_RETRIES = 0

    def __init__(self, settings: RucioSettings, token_folder: str) -> None:
        self._token_folder = token_folder
        super().__init__(account=settings.account, timeout=settings.timeout, user_agent="dune-prompt", logger=_SILENT)

    def _get_auth_tokens(self) -> tuple[str | None, str, str, str]:
        found: tuple[str | None, str, str, str] = super()._get_auth_tokens()
        if self.auth_type == "oidc":
            return found  # somebody logged in and left the token there
        return None, f"{self._token_folder}/token_expires", f"{self._token_folder}/token", self._token_folder

    def _BaseClient__write_token(self) -> None:  # noqa: N802 - the client's own name for it
        """The token stays in memory."""

    def _back_off(self, retry_number: int, reason: str) -> None:
        """Who waits, and how long, is for the daemon to say."""

    def _send_request(self, url: str, *arguments: Any, **options: Any) -> Any:
        login = bool(options.get("get_token"))
        if login and "/auth/oidc" in url and "/auth/oidc_refresh" not in url:
            raise CannotAuthenticate("there is no valid token: put one where BEARER_TOKEN_FILE says, or log in with the `rucio` command")
        response: Response = super()._send_request(url, *arguments, **options)
        status = response.status_code
        if status in (408, 429) or (status >= 500 and (login or "ExceptionClass" not in response.headers)):
            raise TransientError(f"rucio: the server answers {status} {response.reason}")
        if login and response.ok and "X-Rucio-Auth-Token" not in response.headers:
            raise TransientError("rucio: the login is answered by something that is no Rucio server")
        return response


@dataclass(frozen=True, slots=True)
class Credential:
    """What a login is made with: a kind of login (`auth_type` of rucio.cfg), and the certificate's file or the token, which is secret."""

    kind: str
    certificate: str | None
    token: str = field(repr=False)


def _certificate(client: Any) -> str | None:
    return next((client.creds[key] for key in ("client_proxy", "client_cert") if client.creds.get(key)), None)


class Connection:
    """A session with the server of `settings`, opened with the first question and again after a failure."""

    def __init__(self, settings: RucioSettings) -> None:
        self._settings = settings
        self._client: _Client | None = None  # type: ignore[no-any-unimported, unused-ignore]
        self._account: str | None = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """What the server answers to `question`, a function of the client that reads the whole answer.

        Raises:
            Refused: the server, or the client's own settings, said no.
            TransientError: no clear answer; it may have been carried out.
        """
        logged_in_now = self._client is None
        try:
            return self._ask(question)
        except Refused as refused:
            if refused.kind != "CannotAuthenticate" or logged_in_now:
                raise
        # The token was no longer good, so nothing was done. (A wrong right is another refusal.)
        return self._ask(question)

    def rows(self, question: Callable[[Any], Iterator[Any]], *keys: str) -> list[dict[str, Any]]:
        """The same for a list of objects that have these keys."""
        rows = self.ask(lambda client: list(question(client)))
        if not all(isinstance(row, dict) and row.keys() >= set(keys) for row in rows):
            self.close_session()
            raise TransientError(f"rucio: answers what is no list of objects with {', '.join(keys)}: {shorten(str(rows))}")
        return rows

    def _ask(self, question: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                self._client = self._log_in()
            return question(self._client)
        except (RucioException, ConfigFileError) as error:
            kind = type(error).__name__
            if kind in ("CannotAuthenticate", "ServerConnectionException"):
                self.close_session()
            raise Refused(kind, shorten(str(error))) from None
        except RequestException as error:
            self.close_session()
            raise TransientError(f"rucio: {type(error).__name__}: {shorten(str(error))}") from None
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            # A file of the client's settings, or an answer that is cut off or is no JSON.
            self.close_session()
            raise TransientError(f"rucio: no usable answer: {type(error).__name__}: {shorten(str(error))}") from None
        except TransientError:
            self.close_session()
            raise

    def _log_in(self) -> _Client:  # type: ignore[no-any-unimported, unused-ignore]
        config = self._settings.config
        if config is not None and not config.is_file():
            raise ConfigError(f"rucio: there is no file {config} (`config`)")
        # The client looks for a token in this folder and finds none.
        with tempfile.TemporaryDirectory(prefix="dune-prompt-rucio-") as folder, _settings_from(config):
            return _Client(self._settings, folder)

    @property
    def host(self) -> str:
        """The address that is asked."""
        return str(self.ask(lambda client: client.host))

    @property
    def account(self) -> str:
        """The account we act as. With none in the settings, the server knows which one the identity stands for."""
        if self._account is None:
            self._account = self.ask(lambda client: str(client.account or client.whoami()["account"]))
        return self._account

    @property
    def credential(self) -> Credential:
        """What we log in with."""
        return self.ask(lambda client: Credential(client.auth_type, _certificate(client), client.auth_token))

    def close_session(self) -> None:
        """Forget the login and its connections; the next question makes new ones."""
        if self._client is not None:
            self._client.session.close()
            self._client = None


@contextmanager
def _settings_from(config: Path | None) -> Iterator[None]:
    """Let the client read `config` (None: where it looks by itself), and leave the process as it was.

    Everything is read while the client is made, so several of them may have settings of their own. It also shortens `sys.argv[0]`.
    """
    with _SETTINGS:
        before, program = os.environ.get("RUCIO_CONFIG"), sys.argv[0]
        if config is not None:
            os.environ["RUCIO_CONFIG"] = str(config)
        clean_cached_config()
        try:
            yield
        finally:
            sys.argv[0] = program
            clean_cached_config()
            if before is None:
                os.environ.pop("RUCIO_CONFIG", None)
            else:
                os.environ["RUCIO_CONFIG"] = before
