"""Who may write: a bearer token of the right scope is needed for everything that changes something; looking needs none.

Where the service only shows (`service.read_only`), people change nothing through it, whatever their tokens may; its operator on its own
host still can, jobs still report, and launches still launch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from campaign.service.scopes import Scope
from campaign.service.tokens import Principal

Authenticate = Callable[[str], Principal | None]
Caller = Callable[..., Principal]
# Ways of asking that change nothing.
_LOOKING = ("GET", "HEAD")
READ_ONLY = "this service only shows (service.read_only in the site file): nothing can be changed through it"
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def caller_from(authenticate: Authenticate) -> Caller:
    """The dependency that tells a route who calls it; 401 without a token that `authenticate` knows."""

    def caller(credentials: Credentials) -> Principal:
        return _known(authenticate, credentials, "a valid token is needed")

    return caller


def needs(scope: Scope, authenticate: Authenticate, *, read_only: bool = False) -> Caller:
    """The dependency of routes that need `scope`, which tells who calls; 401 without a token that `authenticate` knows, 403 without it.

    With `read_only` everything but looking is 403, but for the operator's own token.
    """

    def allowed(request: Request, credentials: Credentials) -> Principal:
        principal = _known(authenticate, credentials, f"a valid token with the scope {scope} is needed")
        if not principal.may(scope):
            raise HTTPException(403, f"this needs a token with the scope {scope} ({scope.sentence})")
        if read_only and principal.kind != "operator" and request.method not in _LOOKING:
            raise HTTPException(403, READ_ONLY)
        return principal

    return allowed


def _known(authenticate: Authenticate, credentials: HTTPAuthorizationCredentials | None, refusal: str) -> Principal:
    principal = authenticate(credentials.credentials) if credentials else None
    if principal is None:
        raise HTTPException(401, f"{refusal} (Authorization: Bearer …)", {"WWW-Authenticate": "Bearer"})
    return principal
