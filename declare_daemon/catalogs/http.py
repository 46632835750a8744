"""HTTP with a catalogue: kept-alive connections, one time limit for a whole answer, and what went wrong in our own error classes.

For catalogues without a client library of their own; one `HttpSession` may be used by many threads at once.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from dune_prompt.errors import CommandError, ConfigError, TransientError
from dune_prompt.process import run

TEXT_LIMIT = 300
PIECE_BYTES = 1 << 16
# No server of ours answers more at once; an answer without an end must not fill the memory.
MAX_ANSWER_BYTES = 1 << 30
LATER = frozenset({408, 425, 429})


class Refusal(Exception):  # noqa: N818 - it is the server that refuses
    """The server understood the request and said no. `kind`: the server's own name of the error, None if it gave none."""

    def __init__(self, status: int, kind: str | None, message: str) -> None:
        self.status, self.kind, self.message = status, kind, shortened(message)
        super().__init__(f"{kind or status}: {self.message}")


class HttpSession:
    """Requests to one catalogue, called `name` in messages.

    `timeout_s` is the longest wait for a whole answer (and for a single piece of it, so that a call ends within twice that).
    A bearer token (found as the WLCG bearer token discovery says) goes with every request that `proves` who we are, but never
    unencrypted over a network.
    """

    def __init__(
        self,
        name: str,
        *,
        timeout_s: float,
        connections: int,
        cert: Path | None = None,
        key: Path | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update(headers or {})
        # Nothing is retried here: the caller looks before it repeats.
        adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._cert = (str(cert), str(key)) if cert and key else str(cert) if cert else None
        self._environment: dict[str, Mapping[str, Any]] = {}

    def close(self) -> None:
        self._session.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        proves: bool = False,
    ) -> bytes:
        """The body of a good answer. `form` is sent as a web form, `content` as JSON.

        Raises:
            Refusal: 4xx about the request itself.
            TransientError: no clear answer in time, or the server is in trouble (5xx) or asks to come back later (429).
            ConfigError: no right (401, 403), sent elsewhere to log in (3xx), or certificates that do not work.
        """
        headers = dict(headers or {})
        if content is not None:
            headers["Content-Type"] = "application/json"
        if proves and (token := bearer_token()) and _private(url):
            headers["Authorization"] = f"Bearer {token}"
        deadline = time.monotonic() + self._timeout_s
        where = f"{self._name}: {method} {urlsplit(url).netloc}{urlsplit(url).path}"
        try:
            response = self._session.request(
                method,
                url,
                params=params,
                data=form if content is None else json.dumps(content),
                headers=headers,
                timeout=self._timeout_s,
                stream=True,
                allow_redirects=False,
                **self._connection(url),
            )
            try:
                body = self._read(response, deadline)
            except BaseException:
                response.close()
                raise
        except requests.Timeout:
            raise TransientError(f"{where}: no answer within {self._timeout_s:g} s") from None
        except requests.exceptions.SSLError as error:
            raise ConfigError(f"{where}: certificates do not work: {shortened(str(error))}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise TransientError(f"{where}: {shortened(str(error))}") from None
        except OSError as error:  # a certificate file that is not there
            raise ConfigError(f"{where}: {shortened(str(error))}") from None
        if not 200 <= response.status_code < 300:
            raise_for(response.status_code, body, where, response.headers)
        return body

    def json(self, method: str, url: str, **arguments: Any) -> Any:
        """As `request`, the answer read as JSON."""
        body = self.request(method, url, **arguments)
        try:
            return json.loads(body)
        except ValueError:
            raise TransientError(f"{self._name}: {method} {urlsplit(url).path}: the answer is no JSON: {shortened(_text(body))}") from None

    def _connection(self, url: str) -> Mapping[str, Any]:
        """Proxies and authorities of the environment, asked once for each server: `requests` would ask at every call."""
        server = urlsplit(url).netloc
        if server not in self._environment:
            with requests.Session() as asking:
                found = asking.merge_environment_settings(url, {}, False, None, None)
            authorities = os.environ.get("X509_CERT_DIR")
            verify = found["verify"] or (authorities if authorities and Path(authorities).is_dir() else True)
            self._environment[server] = {"proxies": found["proxies"], "verify": verify, "cert": self._cert}
        return self._environment[server]

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """The whole body. Piece by piece, as the time limit of `requests` is for each piece only."""
        pieces, size = [], 0
        while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if time.monotonic() > deadline:
                raise requests.Timeout
            if size > MAX_ANSWER_BYTES:
                raise requests.RequestException(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        return b"".join(pieces)


def raise_for(status: int, body: bytes | str, where: str, headers: Mapping[str, str] | None = None) -> None:
    """Raise what an answer with a bad `status` means. SAM-like servers say `{"error": kind, "message": …}`."""
    text = _text(body)
    kind, message = None, text
    with contextlib.suppress(ValueError, TypeError, KeyError):
        answer = json.loads(text)
        kind, message = str(answer["error"]), str(answer["message"])
    message = shortened(message)
    if status in (401, 403):
        raise ConfigError(f"{where}: no right to do this ({status}): {message}")
    if status in LATER:
        wait = (headers or {}).get("Retry-After")
        raise TransientError(f"{where}: asks to come back later ({status}" + (f", in {wait} s" if wait else "") + f"): {message}")
    if 300 <= status < 400:
        raise ConfigError(
            f"{where}: sends us elsewhere ({status}), as servers do without a valid token or certificate, or at another address"
        )
    if 400 <= status < 500:
        if kind is None and status in (404, 405):
            raise ConfigError(f"{where}: nothing there ({status}); is the address right?")
        raise Refusal(status, kind, message)
    raise TransientError(f"{where}: error {status} of the server: {message}")


def shortened(text: str) -> str:
    """A server's text on one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LIMIT else line[: TEXT_LIMIT - 1] + "…"


def bearer_token() -> str | None:
    """The bearer token of this process, by the WLCG bearer token discovery; read again at each use, as it is renewed every hour."""
    if token := os.environ.get("BEARER_TOKEN", "").strip():
        return token
    path = bearer_token_file()
    if path is None:
        return None
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def bearer_token_file() -> Path | None:
    """Where the token lies, if it lies in a file that is there."""
    name = f"bt_u{os.getuid()}"
    told = os.environ.get("BEARER_TOKEN_FILE")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(told)] if told else [Path(runtime, name)] if runtime else [Path("/tmp", name)]  # noqa: S108 - the standard's place
    return next((place for place in places if place.is_file()), None)


def token_owner(token: str) -> tuple[str | None, float | None]:
    """Who a JSON web token is for and until when (seconds since the Unix epoch), as far as it says; nothing is verified."""
    try:
        payload = token.split(".")[1]
        content = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return content.get("sub"), float(content["exp"]) if "exp" in content else None
    except (ValueError, IndexError, TypeError, AttributeError):
        return None, None


def certificate_owner(path: Path) -> tuple[str, float]:
    """The subject of the first certificate in a PEM file (the proxy itself), and until when it is valid (seconds since the Unix epoch).

    Asks the `openssl` command, so that no package is needed.

    Raises:
        ConfigError: no certificate, or no `openssl`.
    """
    try:
        answer = run(["openssl", "x509", "-in", str(path), "-noout", "-subject", "-enddate", "-nameopt", "compat"], timeout_s=10.0).stdout
        fields = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
        expires = datetime.strptime(fields["notAfter"].strip(), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    except (CommandError, KeyError, ValueError) as error:
        raise ConfigError(f"{path}: no certificate that can be read: {shortened(str(error))}") from None
    return fields["subject"].strip(), expires.timestamp()


def _private(url: str) -> bool:
    """Whether nobody can read along."""
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname in ("127.0.0.1", "localhost", "::1")


def _text(body: bytes | str) -> str:
    return body if isinstance(body, str) else body.decode("utf-8", "replace")
