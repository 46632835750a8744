"""MetaCat's named queries, which others' queries can use as `files selected by namespace:name`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from declare_daemon.catalogs import metacat_queries as mql
from declare_daemon.catalogs.metacat_answers import Refusal, no_namespace, plain
from declare_daemon.catalogs.protocol import Missing
from dune_prompt.errors import ConfigError, ConflictError, TransientError
from dune_prompt.records import split_did

if TYPE_CHECKING:
    from declare_daemon.catalogs.metacat_client import MetacatClient

NO_QUERY = "Query not found"


class Asking(Protocol):
    """Makes every way a request can end badly the error it is for the caller; logs in for writing. `what` completes 'asked to …'."""

    def __call__(self, what: str, *, writing: bool = False) -> AbstractContextManager[None]: ...


class MetacatNamedQueries:
    """Implements `NamedQueries`; names are `namespace:name`."""

    def __init__(self, client: MetacatClient, asking: Asking) -> None:
        self._client, self._asking = client, asking

    def text(self, name: str) -> str | None:
        """The text of a named query; None if there is none of this name."""
        found = self._found(name)
        return None if found is None else str(found["source"])

    def missing(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """As the protocol says; a query is ours if we made it."""
        found = self._found(name)
        if found is None:
            return "all"
        if found["source"] == text:
            return "nothing"
        with self._asking(f"log in to replace the query {name}", writing=True):
            user = self._client.user
        if replace and found.get("creator") == user:
            return "change"
        raise ConflictError(
            f"metacat: the query {name} of {found.get('creator')} has another text: {plain(str(found['source']))!r}; "
            f"wanted by {user}: {plain(text)!r}; have it renamed or removed"
        )

    def define(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """As the protocol says.

        Raises:
            ConflictError: as `missing` says.
            ConfigError: we may not write into the namespace, or there is none.
        """
        missing = self.missing(name, text, replace=replace)
        if missing == "nothing":
            return missing
        namespace, rest = split_did(name)
        with self._asking(f"name the query {name}", writing=True):
            try:
                self._client.create_named_query(namespace, rest, text, update=missing == "change")
            except Refusal as refusal:
                if refusal.is_missing_namespace:
                    raise ConfigError(f"metacat: {no_namespace(namespace)}, for the query {rest}") from None
                # Somebody was faster, maybe ourselves whose answer was lost.
                if refusal.status != 409:
                    raise
        if self.missing(name, text) != "nothing":
            raise TransientError(f"metacat: accepted the query {name} but does not show it")
        return missing

    def _found(self, name: str) -> Any:
        did = mql.name(name)
        with self._asking(f"show the query {did}"):
            try:
                found = self._client.get_named_query(*split_did(did))
            except Refusal as refusal:
                if (refusal.status, refusal.text) != (404, NO_QUERY):
                    raise
                return None
            if found is not None and not isinstance(found["source"], str):
                raise TypeError("a query has a text")
            return found
