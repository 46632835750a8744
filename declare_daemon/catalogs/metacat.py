"""MetaCat: names, metadata, parentage and datasets, through its own client.

What the server's code says (MetaCat 4.1, `webserver/data_handler.py` and `metacat/db/dbobjects2.py`), and what follows:

* A batch is one transaction: all of it or nothing. One name that is taken refuses all (409); so does an id that is taken, in other words.
  No status is trusted: after one that leaves doubt the files are looked up.
* Metadata are copied into the database without escapes: a quote is an error 500, a backslash becomes something else. They come cleaned.
* Retired files keep their names, and are given to who asks for them by name, but not by query.
* `children` and `parents` of a query give files twice; the operator `-` is right.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from declare_daemon.catalogs import metacat_queries as mql
from declare_daemon.catalogs.metacat_answers import GarbledError, Refusal, no_namespace, plain
from declare_daemon.catalogs.metacat_named_queries import MetacatNamedQueries
from declare_daemon.catalogs.metacat_queries import CAMPAIGN_KEYS, STAGE_KEY, VERSION_KEY, Mark
from declare_daemon.catalogs.protocol import (
    AS_CONFIGURED,
    BATCH,
    CONFIRMED,
    OUTPUT_STATUS,
    Entry,
    Finding,
    Keeping,
    Left,
    Wanted,
    disagreements,
    matches,
)
from dune_prompt.errors import ConfigError, ConflictError, DataError, DunePromptError, TransientError
from dune_prompt.records import FileRecord, MadeBy, split_did
from dune_prompt.settings.catalogs import MetacatSettings

if TYPE_CHECKING:
    from declare_daemon.catalogs.metacat_client import MetacatClient

Item = TypeVar("Item")

UNKNOWN_PARENT = "Can not get file id for parent: "
NAME_OF_TRIAL = "dune-prompt-check"
# Between our clock and the server's, and between a file's time and the commit of its transaction.
MARGIN_S = 900.0


class MetacatCatalog:
    """Implements `MetadataCatalog`."""

    name = "metacat"

    def __init__(self, client: MetacatClient) -> None:
        self._client = client
        self.named_queries = MetacatNamedQueries(client, self._asking)

    @classmethod
    def open(cls, settings: MetacatSettings) -> MetacatCatalog:
        """The catalogue of the site file. Asks no server.

        Raises:
            ConfigError: the client is not installed.
        """
        try:
            from declare_daemon.catalogs.metacat_client import MetacatClient
        except ImportError as error:
            raise ConfigError(f"metacat: its client is not installed ({error}): pip install 'dune-prompt[dune]'") from None
        return cls(MetacatClient(settings))

    def ping(self) -> None:
        # The version would be answered without the database.
        with self._asking("answer"):
            _list(self._client.get_namespaces(["dune"]))

    def close(self) -> None:
        self._client.close()

    # -- datasets ------------------------------------------------------------------------------------------------------

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        namespace, _ = split_did(did)
        with self._asking(f"make the dataset {did}", writing=True):
            try:
                self._client.create_dataset(did)
            except Refusal as refusal:
                if refusal.is_missing_namespace:
                    raise ConfigError(f"metacat: {no_namespace(namespace)}, for the dataset {did}") from None
                if refusal.status != 409:
                    raise

    def members(self, dataset: str) -> dict[str, Entry]:
        with self._asking(f"list {dataset}"):
            found = _list(self._client.query(mql.files_of(dataset), include_retired_files=True))
            return {entry.did: entry for entry in map(_entry, found)}

    def undone(self, dataset: str, made_by: MadeBy) -> list[str]:
        with self._asking(f"tell what is undone in {dataset}"):
            return sorted(_did(item) for item in _list(self._client.query(mql.undone(dataset, made_by))))

    def datasets(self, pattern: str) -> list[str]:
        with self._asking(f"list the datasets {pattern}"):
            if "*" not in pattern:
                return [pattern] if self._dataset(pattern) is not None else []
            found = map(_did, _list(self._client.query(mql.datasets_like(pattern))))
            return sorted(did for did in found if matches(did, pattern))

    def left(self, dataset: str, made_by: MadeBy, mark: str | None = None, known: Callable[[], Set[str]] = frozenset) -> Left | None:
        """As the protocol says. Unless files left the dataset, or joined it that were declared long before, one question is about those
        declared lately, however large the dataset is."""
        with self._asking(f"tell what is left of {dataset}"):
            answer = self._dataset(dataset)
            files = 0 if answer is None else int(answer["file_count"])
            before = Mark.read(mark)
            if before is not None and before.files == files:
                return None
            since = time.time() - MARGIN_S
            if not files:
                return Left(frozenset(), {}, Mark(0, since, 0).text)
            if before is not None and files > before.files:
                lately = self._members(dataset, before.since)
                if len(lately) - before.lately >= files - before.files:
                    return self._left_lately(dataset, made_by, before, since, lately)
            now_lately = len(self._members(dataset, since, with_metadata=False))
            entries = self._undone_entries(dataset, made_by, known())
        return Left(frozenset(entries), entries, Mark(files, since, now_lately).text)

    def _dataset(self, did: str) -> Any:
        """What MetaCat tells of a dataset, with the number of files that queries find in it; None if there is none."""
        try:
            return self._client.get_dataset(mql.name(did), exact_file_count=True)
        except Refusal as refusal:
            if refusal.is_missing_dataset:
                return None
            raise

    def _left_lately(self, dataset: str, made_by: MadeBy, before: Mark, since: float, lately: Sequence[Entry]) -> Left:
        undone = {_did(item) for item in _list(self._client.query(mql.undone(dataset, made_by, since=before.since)))}
        entries = {entry.did: entry for entry in lately if entry.did in undone}
        files = before.files + len(lately) - before.lately
        still_lately = sum(1 for entry in lately if entry.declared_at is None or entry.declared_at >= since)
        return Left(frozenset(entries), entries, Mark(files, since, still_lately).text, whole=False)

    def _members(self, dataset: str, since: float, *, with_metadata: bool = True) -> list[Entry]:
        """The files of `dataset` that were declared since."""
        found = _list(self._client.query(mql.files_of(dataset, since=since), with_metadata=with_metadata))
        return [_entry(item) for item in found]

    def _undone_entries(self, dataset: str, made_by: MadeBy, known: Set[str]) -> dict[str, Entry]:
        """All that is undone, in one query; where most of it is known already, without metadata, and these only for the few others."""
        query = mql.undone(dataset, made_by)
        if not known:
            return {entry.did: entry for entry in map(_entry, _list(self._client.query(query, with_metadata=True)))}
        entries = {entry.did: entry for entry in map(_entry, _list(self._client.query(query)))}
        unknown = [_named(did) for did in entries if did not in known]
        return entries | {entry.did: entry for entry in map(_entry, self._files(unknown, with_metadata=True))}

    # -- files ---------------------------------------------------------------------------------------------------------

    def look(self, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        with self._asking(f"look up {len(dids)} files"):
            found = self._files([_named(did) for did in dids], with_metadata=with_metadata)
            return {entry.did: entry for entry in map(_entry, found)}

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        parents: dict[str, list[str]] = {}
        found: dict[str, set[str]] = {}
        with self._asking(f"look up the children of {len(dids)} files"):
            for item in self._files([_named(did) for did in dids], with_provenance=True):
                for child in item["children"]:
                    parents.setdefault(child["fid"], []).append(_did(item))
            for child in self._files([{"fid": fid} for fid in parents], with_metadata=True):
                if not child.get("retired") and _is_made_by(child["metadata"], made_by):
                    for parent in parents[child["fid"]]:
                        found.setdefault(parent, set()).add(_did(child))
        return {parent: tuple(sorted(children)) for parent, children in found.items()}

    def _files(self, specs: Sequence[dict[str, str]], *, with_metadata: bool = False, with_provenance: bool = False) -> list[Any]:
        """The files with these names or ids, retired ones included, as MetaCat tells of them."""
        wanted = {"with_metadata": with_metadata, "with_provenance": with_provenance}
        return [item for part in _parts(specs) for item in _list(self._client.get_files(part, **wanted))]

    def count(self, query: str) -> int:
        """How many files a query finds."""
        with self._asking("count the files of a query"):
            return int(_list(self._client.query(query, summary="count"))[0]["count"])

    def confirm(self, dids: Sequence[str]) -> None:
        for part in _parts(dids):
            with self._asking(f"confirm {len(part)} files", writing=True):
                self._client.update_file_meta({OUTPUT_STATUS: CONFIRMED}, dids=part)

    def retire(self, dids: Sequence[str]) -> None:
        for did in dids:
            with self._asking(f"retire {did}", writing=True):
                try:
                    self._client.retire_file(did)
                except Refusal as refusal:
                    if (refusal.status, refusal.text) != (404, "File not found"):
                        raise

    # -- declaring -----------------------------------------------------------------------------------------------------

    def declare(self, records: Sequence[FileRecord], dataset: str) -> None:
        """As the protocol says. More than 500 files, or files with their parents, are several requests: what an earlier one did, stays."""
        wanted = {record.did: record for record in records}
        there = self.look(list(wanted))
        if found := disagreements(there, wanted.values()):
            raise ConflictError("; ".join(found.values()))
        for part in _parents_first([record for did, record in wanted.items() if did not in there]):
            self._declare(part, dataset)
        # New ones are in the dataset already.
        self._join(list(there), dataset)

    def _declare(self, records: list[FileRecord], dataset: str) -> None:
        with self._asking(f"declare {len(records)} files in {dataset}", writing=True):
            try:
                self._client.declare_files(dataset, [_content(record) for record in records])
            except Refusal as refusal:
                if refusal.status in (409, 500) and self._are_there(records):
                    self._join([record.did for record in records], dataset)
                else:
                    raise self._reason(refusal, records, dataset) or refusal from None
            except requests.RequestException:
                raise
            except ValueError as error:
                # What the client checks before it sends anything.
                raise DataError(f"{_which(records)}: {error}") from None

    def _join(self, dids: Sequence[str], dataset: str) -> None:
        for part in _parts(dids):
            with self._asking(f"put {len(part)} files into {dataset}", writing=True):
                try:
                    self._client.add_files(dataset, file_list=[{"did": did} for did in part])
                except Refusal as refusal:
                    if refusal.is_missing_dataset:
                        raise TransientError(f"metacat: dataset {dataset} is missing") from None
                    raise

    def _are_there(self, records: list[FileRecord]) -> bool:
        """Whether all of a batch is declared after all: an earlier answer may have been lost, or somebody else was faster."""
        there = self.look([record.did for record in records])
        if found := disagreements(there, records):
            raise ConflictError("; ".join(found.values()))
        if there and len(there) < len(records):
            raise TransientError(f"metacat: {len(there)} of {len(records)} files were declared by somebody else meanwhile")
        return bool(there)

    def _reason(self, refusal: Refusal, records: list[FileRecord], dataset: str) -> DunePromptError | None:
        """Why a batch of which nothing is there was refused; None if what it says of the status is all there is to say."""
        if refusal.status == 409:
            return self._taken_id(records) or self._missing_parent(records)
        if refusal.status == 488:
            return self._invalid(refusal, records)
        if refusal.status == 500:
            return next((DataError(f"{record.did}: {why}") for record in records if (why := _uncopyable(record.metadata))), None)
        if refusal.is_missing_dataset:
            return TransientError(f"metacat: dataset {dataset} is missing")
        if refusal.is_missing_namespace:
            return ConfigError(f"metacat: {no_namespace(split_did(dataset)[0])}")
        return None

    def _taken_id(self, records: list[FileRecord]) -> ConflictError | None:
        """An id given to a file by an earlier catalogue that is another file's in this one."""
        ours = {record.fid: record.did for record in records if record.fid is not None}
        for item in self._files([{"fid": fid} for fid in ours]):
            if ours[item["fid"]] != _did(item):
                return ConflictError(f"{ours[item['fid']]}: its id {item['fid']} is that of {_did(item)} in MetaCat")
        return None

    def _missing_parent(self, records: list[FileRecord]) -> DataError | None:
        there = self.look(list(dict.fromkeys(parent for record in records for parent in record.parents)))
        missing = ((record, parent) for record in records for parent in record.parents if parent not in there)
        return next((DataError(f"{record.did}: its parent {parent} is not declared") for record, parent in missing), None)

    def _invalid(self, refusal: Refusal, records: list[FileRecord]) -> DunePromptError:
        """What the list of errors in an answer 488 says of the first file in it."""
        error = refusal.data["metadata_errors"][0]
        record, message = records[error["index"]], str(error.get("message", ""))
        if message.startswith(UNKNOWN_PARENT):
            again = TransientError(f"metacat: {record.did}: a parent was declared only meanwhile")
            return self._missing_parent([record]) or again
        if message.startswith("Permission"):
            return ConfigError(f"metacat: {self._client.user} may not declare {record.did}: {message}")
        if message.startswith("Namespace"):
            return ConfigError(f"metacat: {no_namespace(record.namespace)}, for {record.did}")
        reasons = "; ".join(f"{reason.get('name')}: {reason.get('reason')}" for reason in error.get("metadata_errors") or [])
        return DataError(f"{record.did}: MetaCat refuses its metadata: {(reasons or message)[:300]}")

    # -- checking ------------------------------------------------------------------------------------------------------

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        try:
            self._client.ensure_token()
            self.ping()
        except DunePromptError as error:
            return [Finding("login", False, str(error))]
        findings = [self._declaring(item.namespace, item.data_tier) for item in dict.fromkeys(wanted)]
        # Only now: the trials may have renewed the token.
        user = self._client.user
        return [Finding("login", True, f"user {user}", owner=user, expires_at=self._client.expires_at), *dict.fromkeys(findings)]

    def _declaring(self, namespace: str, data_tier: str) -> Finding:
        what = f"declaring {data_tier} in {namespace}"
        try:
            with self._asking(f"declare {data_tier} in {namespace}"):
                found = _list(self._client.get_namespaces([namespace]))
                if not found:
                    return Finding(what, False, no_namespace(namespace))
                owner = found[0].get("owner_user") or f"the role {found[0].get('owner_role')}"
                return Finding(what, *self._try(namespace, data_tier), owner=owner)
        except DunePromptError as error:
            return Finding(what, False, str(error))

    def _try(self, namespace: str, data_tier: str) -> tuple[bool, str]:
        """Whether MetaCat would take a file of this data tier, and what it says: a declaration it checks and does not carry out."""
        dataset = self._client.first_dataset(namespace)
        file = {"namespace": namespace, "name": NAME_OF_TRIAL, "size": 0, "metadata": {"core.data_tier": data_tier}}
        try:
            self._client.declare_files(dataset or f"{namespace}:{NAME_OF_TRIAL}", [file], dry_run=True)
        except Refusal as refusal:
            if refusal.is_missing_dataset:
                return True, "allowed; there is no dataset yet, so the data tier itself could not be tried"
            if refusal.status != 488:
                return False, refusal.text
            errors = [reason for item in refusal.data["metadata_errors"] for reason in item.get("metadata_errors") or [item]]
            for reason in errors:
                # A trial lacks what a real file has, so only what it says of the data tier and of rights counts.
                if reason.get("name") == "core.data_tier" or str(reason.get("message", "")).startswith("Permission"):
                    return False, str(reason.get("reason") or reason.get("message"))
        return True, "allowed"

    # ------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _asking(self, what: str, *, writing: bool = False) -> Iterator[None]:
        """Every way a request can end badly as the error it is for the caller; `what` completes 'asked to …'."""
        try:
            if writing:
                self._client.ensure_token()
            yield
        except Refusal as refusal:
            raise self._error(what, refusal) from None
        except requests.exceptions.SSLError as error:
            raise ConfigError(f"metacat: no secure connection ({plain(str(error), end=True)})") from None
        except requests.RequestException as error:
            raise TransientError(f"metacat: away when asked to {what} ({plain(str(error), end=True)})") from None
        except (GarbledError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise TransientError(f"metacat: no clear answer when asked to {what} ({plain(str(error))})") from None

    def _error(self, what: str, refusal: Refusal) -> DunePromptError:
        said = f"{refusal.status}: {refusal.text}"
        if refusal.status in (401, 403):
            return ConfigError(f"metacat: {self._client.user} may not {what} ({said})")
        if refusal.status == 488 or (refusal.status == 400 and "Invalid value" in refusal.text):
            return DataError(f"metacat: refuses to {what} ({said})")
        return TransientError(f"metacat: cannot {what} now ({said})")


def _content(record: FileRecord) -> dict[str, Any]:
    """A file as `declare_files` wants it."""
    content = record.to_json()
    content.pop("dataset", None)
    if record.fid is not None:
        content["fid"] = record.fid
    return content


def _entry(item: Mapping[str, Any]) -> Entry:
    """A file as MetaCat tells of it; others' files may lack what ours have."""
    size = item.get("size")
    adler32 = _adler32(item.get("checksums") or {})
    metadata, created = item.get("metadata") or {}, item.get("created_timestamp")
    declared_at = None if created is None else float(created)
    return Entry(_did(item), -1 if size is None else int(size), adler32, bool(item.get("retired")), metadata, item["fid"], declared_at)


def _adler32(checksums: Mapping[str, Any]) -> str:
    """The Adler-32 in the form of ours: 8 small hexadecimal digits; some came with a prefix, in capitals, without leading zeros."""
    found = next((str(value) for kind, value in checksums.items() if kind.lower() == "adler32"), "")
    digits = found.strip().lower().removeprefix("adler32:").removeprefix("0x")
    return digits.zfill(8) if re.fullmatch(r"[0-9a-f]{1,8}", digits) else found


def _is_made_by(metadata: Mapping[str, Any], made_by: MadeBy) -> bool:
    campaigns = [metadata.get(key) for key in CAMPAIGN_KEYS]
    return made_by.campaign in campaigns and (metadata.get(VERSION_KEY), metadata.get(STAGE_KEY)) == (made_by.version, made_by.stage)


def _uncopyable(metadata: Mapping[str, Any]) -> str | None:
    """Why MetaCat can never store this: JSON with a backslash in it is not what its COPY reads. None if it can."""
    for key, value in metadata.items():
        try:
            if "\\" in json.dumps({key: value}, allow_nan=False):
                return f"{key}: MetaCat cannot store quotes, backslashes, control characters and letters beyond ASCII"
        except ValueError:
            return f"{key}: MetaCat cannot store a number that is not finite"
    return None


def _parents_first(records: Sequence[FileRecord]) -> Iterator[list[FileRecord]]:
    """`records` in parts of one request each, none with a file and its parent: MetaCat looks for parents before it enters anything."""
    waiting = {record.did: record for record in records}
    while waiting:
        ready = [record for record in waiting.values() if not any(parent in waiting for parent in record.parents)]
        ready = ready or list(waiting.values())  # in a circle: MetaCat will say which parent it misses
        yield from _parts(ready)
        for record in ready:
            del waiting[record.did]


def _parts(items: Sequence[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])


def _list(answer: Iterable[Any]) -> list[Any]:
    found = list(answer)
    if not all(isinstance(item, dict) for item in found):
        raise TypeError("a list of objects was expected")
    return found


def _named(did: str) -> dict[str, str]:
    namespace, name = split_did(did)
    return {"namespace": namespace, "name": name}


def _did(item: Mapping[str, Any]) -> str:
    return f"{item['namespace']}:{item['name']}"


def _which(records: Sequence[FileRecord]) -> str:
    return records[0].did if len(records) == 1 else f"one of {len(records)} files from {records[0].did}"
