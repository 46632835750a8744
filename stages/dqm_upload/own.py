"""The target `own`: the dashboard of this installation, over HTTP."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from dune_prompt.errors import ConfigError, DataError, TransientError
from stages.dqm_upload.upload import Upload

PATH = "/api/v1/dqm/records"
CONNECT_S, READ_S = 5.0, 30.0
# A short outage is waited out here; for a longer one the stage is run again.
PATIENCE_S = 20.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
# Answers that may be another one in a moment.
_TRY_AGAIN = {408, 425, 429}
# Somebody has to change a setting: no right to upload, or no dashboard at this address.
_WRONG_SETTING = {401, 403, 404, 405}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Where to upload and as whom. `sleep`, `clock` (seconds) and `jitter` (0 … 1) are given by tests."""

    service_url: str
    token: str = field(repr=False)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def store(self, upload: Upload) -> str:
        """Send the upload until it is acknowledged, for some 20 s. Returns `stored` or, when the dashboard knew it, `there already`.

        Raises:
            TransientError: no answer, or one that says to come back.
            ConfigError: the token is refused, or there is no dashboard at this address.
            DataError: the record is refused.
        """
        begin, wait = self.clock(), FIRST_WAIT_S
        while True:
            try:
                return self._send(upload)
            except TransientError:
                pause = wait * (0.5 + self.jitter())
                if self.clock() - begin + pause > PATIENCE_S:
                    raise
                self.sleep(pause)
                wait = min(2 * wait, LONGEST_WAIT_S)

    def _send(self, upload: Upload) -> str:
        url = self.service_url.rstrip("/") + PATH
        parts = [("record", ("record.json", upload.record, "application/json"))]
        parts += [("picture", (name, path.read_bytes(), "image/png")) for name, path in upload.pictures.items()]
        try:
            # A redirection is not followed: it could carry the token elsewhere.
            answer = requests.put(
                url,
                files=parts,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema) as error:
            raise ConfigError(f"service.url {self.service_url!r} is no address: {error}") from None
        except requests.RequestException as error:
            raise TransientError(f"{url}: {type(error).__name__}: {error}") from None
        if answer.status_code in (200, 201):
            return "stored" if answer.status_code == 201 else "there already"
        said = f"{url}: {answer.status_code} {answer.reason}: {answer.text.strip()[:300]}"
        if answer.status_code >= 500 or answer.status_code in _TRY_AGAIN:
            raise TransientError(said)
        if answer.status_code in _WRONG_SETTING or answer.status_code < 400:
            raise ConfigError(said)
        raise DataError(said)
