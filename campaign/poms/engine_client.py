"""Asks the engine service, from the host POMS launches on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from dune_prompt.errors import ConfigError, TransientError

TIMEOUT_S = (10, 120)
# A service that is just being restarted is back after this.
PAUSES_S = (1.0, 3.0, 10.0)
_CHUNK = 1 << 20
# A launch may hold the file for as long as it copies it.
_BUNDLE_TIMEOUT_S = (10, 300)


class EngineClient:
    """The service at `url`, with the operator's token. Every call can be repeated, and is when there is no answer."""

    def __init__(self, url: str, token: str, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._url = f"{url.rstrip('/')}/api/v1"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._pauses_s = pauses_s

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def status(self) -> dict[str, Any]:
        """What the engine wants to do next (`campaign.service.api.StatusAnswer`)."""
        return dict(self._ask("GET", "/status"))

    def launch(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What to submit (`campaign.service.launches.LaunchAnswer`).

        Raises:
            ConfigError: the service does not know the campaign, or refuses the launch. TransientError: it does not answer.
        """
        return dict(self._ask("POST", "/launches", request))

    def submitted(self, request_id: str, handles: Mapping[str, str]) -> dict[str, Any]:
        """Tell which jobs the batch system has, by attempt."""
        return dict(self._ask("PUT", f"/launches/{request_id}/jobs", {"handles": dict(handles)}))

    def progress(self, request_id: str) -> dict[str, Any]:
        """How far a launch is (`campaign.service.launches.ProgressAnswer`)."""
        return dict(self._ask("GET", f"/launches/{request_id}"))

    def untold(self) -> list[dict[str, Any]]:
        """Launches that are over and that POMS does not know about."""
        found: list[dict[str, Any]] = self._ask("GET", "/launches/untold")
        return found

    def told(self, request_ids: Sequence[str]) -> None:
        """POMS knows about these now."""
        self._ask("POST", "/launches/told", {"requests": list(request_ids)})

    def bundle(self, request_id: str, wanted: Mapping[str, Any], folder: Path) -> Path:
        """The tarball of a launch, in `folder`; fetched only if it is not there.

        Raises:
            TransientError: it did not arrive whole.
        """
        path = folder / Path(str(wanted["name"])).name
        if path.exists() and _sha256(path) == wanted["sha256"]:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{time.time_ns()}")
        try:
            with self._session.get(f"{self._url}/launches/{request_id}/bundle", stream=True, timeout=_BUNDLE_TIMEOUT_S) as answer:
                answer.raise_for_status()
                with draft.open("wb") as file:
                    for chunk in answer.iter_content(_CHUNK):
                        file.write(chunk)
            if _sha256(draft) != wanted["sha256"]:
                raise TransientError(f"{self._url}: the bundle {path.name} did not arrive as it was sent")
            draft.replace(path)
        except requests.RequestException as error:
            raise TransientError(f"{self._url}: the bundle {path.name} cannot be fetched ({type(error).__name__})") from None
        finally:
            draft.unlink(missing_ok=True)
        return path

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        error = "no answer"
        for pause_s in (*self._pauses_s, None):
            try:
                answer = self._session.request(method, self._url + path, json=content, timeout=TIMEOUT_S)
            except requests.RequestException as problem:
                error = f"no answer ({type(problem).__name__})"
            else:
                if answer.status_code < 300:
                    return answer.json()
                error = _detail(answer)
                if answer.status_code < 500 and answer.status_code not in (408, 429):
                    hint = "; is the token that of this service's operator?" if answer.status_code in (401, 403) else ""
                    raise ConfigError(f"{self._url}{path}: {error}{hint}")
            if pause_s is not None:
                time.sleep(pause_s)
        raise TransientError(f"{self._url}{path}: {error}")


def _detail(answer: requests.Response) -> str:
    """What the service says, in its own words."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:200]
    return detail if isinstance(detail, str) else f"{answer.status_code}: {detail}"[:500]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
