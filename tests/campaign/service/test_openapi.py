"""The engine's interface as the service offers it, against its own description."""

from __future__ import annotations

from typing import Any

from campaign.service.api import create_router
from campaign.service.tokens import Tokens, operator_token
from dashboard.app import create_app
from tests.dashboard.described import not_as_described


def test_every_call_answers_as_it_is_described(house: Any) -> None:
    tokens = Tokens(house.store, house.folder)
    router = create_router(house.engine, tokens, wake=lambda: None)
    app = create_app(house.installation.site, house.store, router, authenticate=tokens.authenticate, slots=lambda: house.engine.slots)
    assert not_as_described(app, operator_token(house.folder)) == []
