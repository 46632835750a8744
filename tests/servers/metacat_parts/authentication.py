"""Who sends a request, and logging in, after MetaCat's `auth/server/auth_handler.py`."""

from __future__ import annotations

from typing import Any

from metacat.auth import AuthenticationCore

from tests.servers.metacat_parts.messages import HTML, PLAIN, Answer, Request, crash


class Auth:
    """Who sends a request, and logging in. Over MetaCat's own code; tokens can be declared expired before their time."""

    def __init__(self, settings: dict[str, Any], token_lifetime_s: float | None) -> None:
        self._core = AuthenticationCore(settings)
        if token_lifetime_s is not None:
            self._core.TokenExpiration = token_lifetime_s
        self.expired_before = 0.0

    def user_of(self, request: Request) -> tuple[str | None, str | None]:
        token, error = self._core.token_from_request(request)
        if token is not None and token["iat"] <= self.expired_before:
            return None, "Token expired"
        return (token.subject, None) if token is not None else (None, error)

    def token_for(self, user: str, lifetime_s: float | None = None) -> str:
        encoded = self._core.generate_token(user, expiration=lifetime_s)[1]
        return encoded if isinstance(encoded, str) else encoded.decode()

    def answer(self, request: Request) -> Answer:
        match request.endpoint:
            case "auth":
                try:
                    return self._log_in(request)
                except Exception:  # noqa: BLE001 - as above
                    return crash()
            case "verify":
                user, error = self.user_of(request)
                return Answer(200, "OK", PLAIN) if user else Answer(401, error or "")
            case "whoami":
                return Answer(200, self.user_of(request)[0] or "", PLAIN)
        return Answer(404, "Not found", PLAIN)

    def _log_in(self, request: Request) -> Answer:
        user = request.args.get("username")
        status, extra = self._core.authenticate(request.args.get("method", "password"), user, request, None)
        if status == "continue":
            code, text, headers = extra
            return Answer(code, text, HTML, headers)
        if status != "ok":
            return Answer(401, f"{extra or 'Authentication failed'}\n")
        name = extra.get("username", user)
        return Answer(200, "", HTML, {"X-Authentication-Token": self.token_for(name, extra.get("expiration"))})
