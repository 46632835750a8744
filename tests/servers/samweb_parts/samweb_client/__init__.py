"""A double of the module `samweb_client` (sam-web-client 2.x/3.x, which is not on PyPI), with the methods dune-prompt calls.

Tests put the folder above on the module search path. It behaves as the original: addresses come from the environment, what failed is
repeated for `max_timeout` seconds with a message to standard output, 4xx is not repeated, an answer that is cut is not caught, a name of
digits is a file id.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import requests

from . import exceptions


class HTTPClient:
    """Keeps one session; made for one thread."""

    max_timeout: float = 6 * 60 * 60
    maxretryinterval: float = 60
    verboseretries = True

    def __init__(self) -> None:
        self.socket_timeout: float = 60 * 60
        self._session: requests.Session | None = None
        self._cert: Any = None

    def use_client_certificate(self, cert: str | None = None, key: str | None = None) -> None:
        self._cert = (cert, key) if cert and key else cert
        self._session = None

    def request(self, method: str, url: str, *, role: str = "default", content_type: str | None = None, **arguments: Any) -> Any:
        if self._session is None:
            self._session = requests.Session()
            self._session.verify = False
            self._session.cert = self._cert
        headers = {"Accept": "application/json", "SAM-Role": role} | ({"Content-Type": content_type} if content_type else {})
        until, interval = time.time() + self.max_timeout, 1.0
        while True:
            error: Exception
            try:
                response = self._session.request(method, url, headers=headers, timeout=self.socket_timeout, **arguments)
                if 200 <= response.status_code < 300:
                    return response
                kind = None
                if "application/json" in response.headers["Content-Type"]:
                    answer = response.json()
                    kind, message = answer["error"], answer["message"]
                elif response.status_code >= 500:
                    message = f"HTTP error: {response.status_code} {response.reason}"
                else:
                    message = response.text.rstrip()
                error = exceptions.make_http_error(method, url, response.status_code, message, kind)
                if 400 <= response.status_code < 500:
                    raise error
            except requests.exceptions.SSLError as ssl:
                raise exceptions.SAMWebSSLError(f"SSL error: {ssl}") from None
            except requests.exceptions.Timeout:
                error = exceptions.SAMWebConnectionError(f"{url}: Timed out waiting for response")
            except requests.exceptions.ConnectionError as lost:
                error = exceptions.SAMWebConnectionError(f"{url}: {lost}")
            if time.time() >= until:
                raise error
            if self.verboseretries:
                print(f"{error}: retrying in {interval:.0f} s")
            time.sleep(interval)
            interval = min(2 * interval, self.maxretryinterval)


class SAMWebClient:
    """What the original calls `samweb`."""

    def __init__(self, experiment: str | None = None, secure: bool = False, cert: str | None = None, key: str | None = None) -> None:
        self.experiment, self.secure = experiment or os.environ.get("SAM_EXPERIMENT"), secure
        self.http_client = HTTPClient()
        self.http_client.use_client_certificate(cert, key)

    def get_baseurl(self, secure: bool | None = None) -> str:
        told = os.environ.get("SAM_WEB_BASE_SSL_URL" if secure else "SAM_WEB_BASE_URL")
        host = "https://samweb.fnal.gov:8483" if secure else "http://samweb.fnal.gov:8480"
        return told or f"{host}/sam/{self.experiment}/api"

    def _set_max_timeout(self, seconds: float) -> None:
        self.http_client.max_timeout = seconds

    def _set_socket_timeout(self, seconds: float) -> None:
        self.http_client.socket_timeout = seconds

    max_timeout = property(lambda self: self.http_client.max_timeout, _set_max_timeout)
    socket_timeout = property(lambda self: self.http_client.socket_timeout, _set_socket_timeout)

    def _ask(self, method: str, path: str, *, secure: bool = False, **arguments: Any) -> Any:
        return self.http_client.request(method, self.get_baseurl(secure or self.secure) + path, **arguments)

    def _query(self, path: str, dimensions: str, params: dict[str, Any]) -> Any:
        if len(dimensions) > 1024:
            return self._ask("POST", path, params=params, data={"dims": dimensions})
        return self._ask("GET", path, params=params | {"dims": dimensions})

    def getMultipleMetadata(self, filenameorids: Iterable[Any], locations: bool = False, asJSON: bool = False, basic: bool = False) -> Any:
        data: dict[str, Any] = {}
        for item in filenameorids:
            data.setdefault("file_id" if str(item).isdecimal() else "file_name", []).append(item)
        data |= {"locations": 1} if locations else {}
        response = self._ask("POST", "/files/metadata", data=data)
        return response.text.rstrip() if asJSON else response.json()

    def getMetadata(self, filenameorid: Any, locations: bool = False) -> Any:
        return self._ask("GET", f"{_path(filenameorid)}/metadata", params={"locations": True} if locations else {}).json()

    def declareFile(self, md: Any = None, mdfile: Any = None) -> Any:
        return self._ask("POST", "/files", secure=True, data=_content(md, mdfile), content_type="application/json").text

    def validateFileMetadata(self, md: Any = None, mdfile: Any = None) -> Any:
        return self._ask("POST", "/files/validate_metadata", data=_content(md, mdfile), content_type="application/json").text

    def modifyMetadata(self, md: Any = None, mdfile: Any = None, continue_on_error: bool = False) -> Any:
        params = {"continue_on_error": continue_on_error}
        data = _content(md, mdfile)
        return self._ask("PUT", "/files", secure=True, params=params, data=data, content_type="application/json", role="*").json()

    def addFileLocation(self, filenameorid: Any, location: str) -> Any:
        return self._ask("POST", f"{_path(filenameorid)}/locations", secure=True, data={"add": location}, role="*")

    def removeFileLocation(self, filenameorid: Any, location: str) -> Any:
        return self._ask("POST", f"{_path(filenameorid)}/locations", secure=True, data={"remove": location}, role="*")

    def retireFile(self, filename: Any) -> Any:
        return self._ask("POST", f"{_path(filename)}/retired_date", secure=True, role="*").text

    def listFiles(self, dimensions: str) -> list[str]:
        response = self._query("/files/list", dimensions, {"format": "plain"})
        return [line.strip() for line in response.text.splitlines() if line.strip()]

    def countFiles(self, dimensions: str) -> int:
        return int(self._query("/files/count", dimensions, {}).text.strip())

    def descDefinitionDict(self, defname: str) -> Any:
        return self._ask("GET", f"{_definition_path(defname)}/describe").json()

    def descDefinition(self, defname: str) -> str:
        return str(self._ask("GET", f"{_definition_path(defname)}/describe", params={"format": "plain"}).text.rstrip())

    def createDefinition(
        self, defname: str, dims: str, user: str | None = None, group: str | None = None, description: str | None = None
    ) -> Any:
        params = {"defname": defname, "dims": dims, "group": group or str(self.experiment).split("/", 1)[0]}
        params |= {"description": description} if description else {}
        params |= {"user": user} if user else {}
        return self._ask("POST", "/definitions/create", secure=True, data=params).json()

    def modifyDefinition(self, existing_defname: str, defname: str | None = None, description: str | None = None) -> None:
        params = {"defname": defname} if defname else {}
        params |= {"description": description} if description else {}
        self._ask("PUT", _definition_path(existing_defname), secure=True, data=params, role="*")


def _path(filenameorid: Any) -> str:
    return f"/files/id/{filenameorid}" if str(filenameorid).isdecimal() else f"/files/name/{quote(str(filenameorid), safe='')}"


def _definition_path(defname: str) -> str:
    return f"/definitions/name/{quote(defname, safe='')}"


def _content(md: Any, mdfile: Any) -> str:
    return json.dumps(md) if md else str(mdfile.read())
