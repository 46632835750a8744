"""Who has the scope `upload` may send any data-quality record; no other scope lets one."""

from __future__ import annotations

from typing import Any

from campaign.service.scopes import Scope
from campaign.service.tokens import Principal


def test_a_token_uploads_any_record_if_it_has_the_scope(upload: Any, record: Any, tokens: Any) -> None:
    tokens.known["uploader"] = Principal("token", "uploader", frozenset({Scope.UPLOAD}))
    tokens.known["others"] = Principal("token", "others", frozenset(Scope) - {Scope.UPLOAD})
    refused = upload(record(elements=1), token="others")
    assert refused.status_code == 403
    assert "the scope upload" in refused.json()["detail"]
    assert upload(record(elements=1), token="uploader").status_code == 201
