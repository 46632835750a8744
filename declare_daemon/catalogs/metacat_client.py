"""MetaCat's own client, with what a daemon needs of it: one kept-alive connection, a time limit, no hidden repetition, a new login in time.

Why it is not used as it comes (client 4.1.5, `metacat/webapi/webapi.py`, `metacat/common/auth_client.py`): it opens a connection for each
request, repeats POSTs for up to 1800 s, takes the answer 202 for an error, reads its token once, and logs in without a time limit and
without looking at the server's certificate. Imported only when a site lists MetaCat: it is slow to import and need not be installed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from jwt.exceptions import PyJWTError
from metacat.common import SignedToken
from metacat.webapi import MetaCatClient
from metacat.webapi.webapi import WebAPIError
from requests.auth import AuthBase, HTTPDigestAuth

from declare_daemon.catalogs.metacat_answers import MAX_TEXT, GarbledError, Refusal, plain
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.settings.catalogs import MetacatSettings

# Where no token library can be: the client would else make an empty one in the home folder, or in /tmp.
NO_LIBRARY = "/dev/null/token_library"
RECORD_SEPARATOR = b"\x1e"


class MetacatClient(MetaCatClient):  # type: ignore[misc]
    """`MetaCatClient` whose methods raise `Refusal`, `GarbledError`, and what `requests` raises.

    A request that is refused because of the token is repeated after a new login: MetaCat looks at the token before it does anything.
    """

    def __init__(self, settings: MetacatSettings) -> None:
        self._settings = settings
        self._session = requests.Session()
        url = str(settings.url).rstrip("/")
        auth_url = str(settings.auth_url).rstrip("/") if settings.auth_url is not None else None
        super().__init__(url, auth_url, token_library=NO_LIBRARY, timeout=settings.timeout)

    @property
    def user(self) -> str:
        """Who we are, as the token has it."""
        return "nobody" if self.Token is None else str(self.Token.subject)

    @property
    def expires_at(self) -> float | None:
        """When the token expires, in seconds since the Unix epoch."""
        return None if self.Token is None else self.Token.expiration

    def close(self) -> None:
        self._session.close()

    # -- requests, in place of the client's own ------------------------------------------------------------------------

    def retry_request(self, method: str, url: str, timeout: float | None = None, **args: Any) -> requests.Response:
        """Send a request, once."""
        return self._session.request(method, url, timeout=self.Timeout, **args)

    def send_request(self, method: str, uri_suffix: str, **args: Any) -> requests.Response:
        try:
            return self._send(method, uri_suffix, **args)
        except Refusal as refusal:
            if not refusal.is_of_token:
                raise
        self.log_in()
        return self._send(method, uri_suffix, **args)

    def _send(self, method: str, uri_suffix: str, **args: Any) -> requests.Response:
        try:
            response: requests.Response = super().send_request(method, uri_suffix, **args)
        except WebAPIError as error:
            if error.StatusCode // 100 != 2:
                raise Refusal(error.StatusCode, error.Body or "", error.Data) from None
            response = self.LastResponse
        return response

    def unpack_json_data(self, response: requests.Response) -> Any:
        """The content of an answer, read whole: only so it is known to be whole."""
        content = response.content
        try:
            if response.headers.get("Content-Type", "").startswith("application/json-seq"):
                return [json.loads(item) for item in content.split(RECORD_SEPARATOR) if item.strip()]
            return json.loads(content)
        except ValueError:
            raise GarbledError(f"no JSON: {plain(content[:MAX_TEXT].decode(errors='replace'))}") from None

    def first_dataset(self, namespace: str) -> str | None:
        """Some dataset of the namespace; what else there is, is not read."""
        headers = {"Accept": "application/json-seq, application/json"}
        response = self.send_request("post", "data/query", data=f"datasets matching {namespace}:%", headers=headers, stream=True)
        with response:
            for line in response.iter_lines():
                if item := line.strip(RECORD_SEPARATOR).strip():
                    try:
                        found = json.loads(item)
                        return f"{found['namespace']}:{found['name']}"
                    except (ValueError, KeyError, TypeError):
                        raise GarbledError(f"no dataset: {plain(item[:MAX_TEXT].decode(errors='replace'))}") from None
        return None

    # -- logging in ----------------------------------------------------------------------------------------------------

    def ensure_token(self) -> None:
        """Log in unless we have."""
        if self.Token is None:
            self.log_in()

    def log_in(self) -> None:
        """Get a token; whatever proves who we are is read anew.

        Raises:
            ConfigError: there is nothing that proves it, or the server does not believe it.
            TransientError: the authentication server is away.
        """
        self.Token = self._token_of_library() if self._settings.auth == "library" else self._token_of_server()

    def _token_of_library(self) -> Any:
        """The token of the first library there is where the client has them; lines of address and token."""
        url = str(self._settings.url).rstrip("/")
        places = [Path(folder) / ".token_library" for folder in (os.environ.get("HOME"), Path.cwd(), "/tmp") if folder]  # noqa: S108
        place = next((place for place in places if place.is_file()), places[0])
        how = f"`metacat -s {url} auth login` renews it"
        try:
            lines = [line.split() for line in place.read_text().splitlines()] if place.is_file() else []
            found = [SignedToken.decode(line[1]) for line in lines if len(line) == 2 and line[0].rstrip("/") == url]
        except (OSError, ValueError, PyJWTError) as error:
            raise ConfigError(f"metacat: {place} cannot be read ({type(error).__name__}): {how}") from None
        token = next((token for token in found if not token.expiration or token.expiration > time.time()), None)
        if token is None:
            raise ConfigError(f"metacat: {place} holds no token for {url} that is still valid: {how}")
        if self.Token is not None and token.encode() == self.Token.encode():
            raise ConfigError(f"metacat: the server does not accept the token for {url} in {place}: {how}")
        return token

    def _token_of_server(self) -> Any:
        settings = self._settings
        user = str(settings.user)
        match settings.auth:
            case "x509":
                certificate = str(settings.cert)
                pair = (certificate, str(settings.key or certificate))
                response = self._ask_for_token("get", {"method": "x509", "username": user}, cert=pair)
            case "token":
                headers = {"Authorization": f"bearer {_secret(settings.token_file)}"}
                response = self._ask_for_token("post", {"method": "token", "username": user}, headers=headers)
            case _:
                password = _secret(settings.password_file)
                response = self._ask_for_token("post", {"method": "ldap"}, data=f"{user}:{password}".encode())
                if response.status_code == 401:
                    # A server without LDAP. One that has it fails here for a wrong password, with an error 500.
                    digest = self._ask_for_token("get", {"method": "digest"}, auth=HTTPDigestAuth(user, password))
                    response = digest if digest.status_code == 200 else response
        if response.status_code == 429 or response.status_code >= 500:
            raise TransientError(f"metacat: {self.AuthURL} answers {response.status_code}: {plain(response.text, end=True)}")
        try:
            if response.status_code != 200:
                raise ConfigError(f"metacat: {self.AuthURL} does not accept {user} by {settings.auth}: {plain(response.text)}")
            return SignedToken.decode(response.headers["X-Authentication-Token"])
        except (KeyError, ValueError, PyJWTError):
            raise TransientError(f"metacat: {self.AuthURL} gives {user} no token, though it accepts {settings.auth}") from None

    def _ask_for_token(
        self,
        method: str,
        params: Mapping[str, str],
        *,
        cert: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        auth: AuthBase | None = None,
    ) -> requests.Response:
        try:
            return self._session.request(
                method, f"{self.AuthURL}/auth", params=params, cert=cert, headers=headers, data=data, auth=auth, timeout=self.Timeout
            )
        except requests.exceptions.SSLError as error:
            raise ConfigError(f"metacat: {self.AuthURL}: no secure connection ({plain(str(error), end=True)})") from None
        except requests.RequestException as error:
            raise TransientError(f"metacat: {self.AuthURL} is away ({plain(str(error), end=True)})") from None
        except OSError as error:
            # What requests says of a certificate file that is not there.
            raise ConfigError(f"metacat: {error}") from None


def _secret(path: Path | None) -> str:
    """What a file of a secret holds. It goes into headers, so one that cannot must not reach an error text that quotes it."""
    try:
        secret = Path(str(path)).read_text().strip()
    except OSError as error:
        raise ConfigError(f"metacat: {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"metacat: {path}: no text") from None
    if not secret or not secret.isprintable():
        raise ConfigError(f"metacat: {path}: one line is expected")
    return secret
