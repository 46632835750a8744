"""Asks an application everything it describes, with good values and bad ones."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

SERIOUS = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
)


def not_as_described(app: Any, token: str) -> list[str]:
    """What was not answered as the application's OpenAPI says, or with a fault of its own."""
    description = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    found = []
    for result in description.get_all_operations():
        operation = result.ok()

        @SERIOUS
        @given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            # What is well formed may still be refused with 422: limits contradict each other, a record belongs to nobody.
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=[positive_data_acceptance])

        try:
            probe()
        except BaseExceptionGroup as error:
            found.append(f"{operation.label}: {error.exceptions}")
    return found
