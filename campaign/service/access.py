"""Who may write: a bearer token is needed for everything that changes something; looking needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from campaign.service.tokens import Principal

Authenticate = Callable[[str], Principal | None]
Caller = Callable[..., Principal]

_bearer = HTTPBearer(auto_error=False)


def caller_from(authenticate: Authenticate) -> Caller:
    """The dependency that tells a route who calls it; 401 without a token that `authenticate` knows."""

    def caller(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
        principal = authenticate(credentials.credentials) if credentials else None
        if principal is None:
            raise HTTPException(401, "a valid token is needed (Authorization: Bearer …)", {"WWW-Authenticate": "Bearer"})
        return principal

    return caller
