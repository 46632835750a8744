"""A certificate authority of a test's own, with a certificate for the host `localhost` and one for a user (by the command `openssl`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

USER = "/O=Test/CN=dunepro"


class Certificates:
    """Files in `folder`, made by `make`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority, self.host, self.user = folder / "ca.pem", folder / "host.pem", folder / "user.pem"
        self.user_subject = "CN=dunepro,O=Test"

    @property
    def of_server(self) -> dict[str, str]:
        return {"host": str(self.host), "authority": str(self.authority)}

    def make(self) -> None:
        """Make them, unless they are there. Certificate and key are in one file each."""
        if self.user.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        constraints = "basicConstraints=critical,CA:TRUE"
        self._request(self.authority, "/O=Test/CN=authority", "-addext", constraints, "-addext", "keyUsage=critical,keyCertSign")
        signed = ("-CA", str(self.authority), "-CAkey", str(self.authority))
        self._request(self.host, "/O=Test/CN=localhost", "-addext", "subjectAltName=DNS:localhost", *signed)
        self._request(self.user, USER, *signed)

    def _request(self, path: Path, subject: str, *options: str) -> None:
        key, certificate = path.with_suffix(".key"), path.with_suffix(".crt")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*command, "-subj", subject, *files, *options], check=True, capture_output=True, cwd=self._folder)
        path.write_bytes(certificate.read_bytes() + key.read_bytes())
