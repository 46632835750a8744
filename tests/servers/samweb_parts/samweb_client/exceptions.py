"""The errors of the double of `samweb_client`. SAM's own kinds of error become classes when they first come, as in the original."""

from __future__ import annotations


class Error(Exception):
    pass


class SAMWebConnectionError(Error):
    pass


class SAMWebSSLError(SAMWebConnectionError):
    pass


class SAMWebHTTPError(Error):
    def __init__(self, method: str, url: str, code: int, msg: str) -> None:
        self.method, self.url, self.code, self.msg = method, url, code, msg

    def __str__(self) -> str:
        return self.msg if 400 <= self.code < 500 else f"HTTP error: {self.code} {self.msg}\nURL: {self.url}"


_CLASSES: dict[str, type[SAMWebHTTPError]] = {}
_OF_CODE = {400: "HTTPBadRequest", 403: "HTTPForbidden", 404: "HTTPNotFound", 409: "HTTPConflict"}


def make_http_error(method: str, url: str, code: int, msg: str, kind: str | None) -> SAMWebHTTPError:
    name = kind or _OF_CODE.get(code) or f"HTTP{code}Error"
    made = _CLASSES.setdefault(name, type(name, (SAMWebHTTPError,), {}))
    return made(method, url, code, msg)
