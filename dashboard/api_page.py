"""The page `/api`: what programs can ask the service, made from its OpenAPI description, without a script from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from dashboard.rendering import Pages

OpenApi = Mapping[str, Any]
_WORDS = {"dqm": "Data-quality results", "handover": "Shift hand-over"}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a call or a member of what it sends or answers. `kind` is its type in words."""

    name: str
    kind: str
    required: bool
    words: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `body` are the members of what is sent, `answer` of what comes back; `needs_token`: it is refused without one."""

    method: str
    path: str
    words: str
    needs_token: bool
    parameters: Sequence[Field]
    body: Sequence[Field]
    answer: Sequence[Field]
    codes: Sequence[str]


def calls_by_tag(description: OpenApi) -> dict[str, list[Call]]:
    """All calls, by the title of their group."""
    groups: dict[str, list[Call]] = {}
    for path, methods in sorted(description["paths"].items()):
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["service"])[0]
            title = _WORDS.get(tag, tag[:1].upper() + tag[1:])
            groups.setdefault(title, []).append(_call(description, method.upper(), path, operation))
    return dict(sorted(groups.items()))


def _call(description: OpenApi, method: str, path: str, operation: Mapping[str, Any]) -> Call:
    responses = operation.get("responses", {})
    good: Mapping[str, Any] = next((response for code, response in sorted(responses.items()) if code.startswith("2")), {})
    parameters = [parameter for parameter in operation.get("parameters", []) if parameter["name"].lower() != "authorization"]
    return Call(
        method=method,
        path=path,
        words=operation.get("description") or operation.get("summary", ""),
        needs_token=bool(operation.get("security")) or len(parameters) < len(operation.get("parameters", [])),
        parameters=[
            Field(item["name"], _kind(description, item["schema"]), item.get("required", False), item.get("description", ""))
            for item in parameters
        ],
        body=_members(description, _content(operation.get("requestBody", {}))),
        answer=_members(description, _content(good)),
        codes=sorted(responses),
    )


def _content(message: Mapping[str, Any]) -> Mapping[str, Any]:
    for media in message.get("content", {}).values():
        schema: Mapping[str, Any] = media.get("schema", {})
        return schema
    return {}


def _members(description: OpenApi, schema: Mapping[str, Any]) -> list[Field]:
    resolved = _resolve(description, schema)
    if resolved.get("type") == "array":
        resolved = _resolve(description, resolved.get("items", {}))
    required = resolved.get("required", ())
    return [
        Field(name, _kind(description, member), name in required, member.get("description", ""))
        for name, member in resolved.get("properties", {}).items()
    ]


def _resolve(description: OpenApi, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _kind(description: OpenApi, schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _kind(description, _resolve(description, schema)) if "enum" in _resolve(description, schema) else "object"
    if "enum" in schema or "const" in schema:
        return " | ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(_kind(description, option) for option in options))
    if schema.get("type") == "array":
        return f"list of {_kind(description, schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def create_router(pages: Pages, describe: Callable[[], OpenApi]) -> APIRouter:
    """The route; `describe` gives the OpenAPI description of the application."""
    router = APIRouter(include_in_schema=False)

    @router.get("/api")
    def api_page() -> HTMLResponse:
        return pages.page("api.html", here="", groups=calls_by_tag(describe()))

    return router
