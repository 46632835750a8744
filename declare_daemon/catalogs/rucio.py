"""Rucio: where the copies of files are, and the rules that keep and make them.

A dataset is made together with its rules, and files join it together with their replicas, each in one transaction of the server that may
be repeated. Rucio has no metadata with dotted names: they are MetaCat's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import cached_property, partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

from declare_daemon.catalogs.protocol import AS_CONFIGURED, BATCH, Copies, Finding, Found, Keeping, Recall, Replica, RuleState, Wanted
from declare_daemon.catalogs.rucio_errors import MISMATCH, NO_DATASET, Refused
from declare_daemon.catalogs.rucio_rows import Contents, ReplicaRows
from declare_daemon.catalogs.rucio_storage import StorageElement, readable
from dune_prompt.errors import ConfigError, ConflictError, DataError, DunePromptError, TransientError
from dune_prompt.records import ADLER32, split_did
from dune_prompt.settings.catalogs import RucioSettings

if TYPE_CHECKING:
    from declare_daemon.catalogs.rucio_client import Connection

# Which storage elements an expression stands for, and what they are like, changes with an administrator's working day.
REMEMBER_S = 300.0

MISSING = "missing"
NO_COPY = "no copy there yet"

FILE_KEYS = ("scope", "name", "bytes", "adler32")

T = TypeVar("T")


class RucioCatalog:
    """Implements `ReplicaCatalog`."""

    name = "rucio"

    def __init__(self, settings: RucioSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._elements: dict[str, tuple[float, StorageElement]] = {}
        self._expressions: dict[str, tuple[float, frozenset[str]]] = {}

    @classmethod
    def open(cls, settings: RucioSettings) -> RucioCatalog:
        """The catalogue of a site file. No server is asked, and the client is not loaded yet."""
        return cls(settings)

    @cached_property
    def _connection(self) -> Connection:
        try:
            from declare_daemon.catalogs.rucio_client import Connection
        except ImportError as error:
            raise ConfigError(f"rucio: the client is not installed ({error.name}): pip install 'dune-prompt[dune]'") from None
        return Connection(self._settings)

    @cached_property
    def _rows(self) -> ReplicaRows:
        return ReplicaRows(self._replicas_at, self._clock)

    def ping(self) -> None:
        try:
            self._connection.ask(lambda client: client.ping()["version"])
        except Refused as refused:
            raise refused.error("ping") from None

    def close(self) -> None:
        if "_connection" in self.__dict__:
            self._connection.close_session()

    # -- datasets and their rules ------------------------------------------------------------------------------------------

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        """Make the dataset and its rules. A rule that is there stays as it is, also with another lifetime.

        Raises:
            ConflictError: a file or container has the name.
        """
        scope, name = split_did(did)
        rules = [self._rule(expression, keeping) for expression in self._rule_expressions(keeping)]
        try:
            self._connection.ask(lambda client: client.add_dataset(scope, name, rules=rules or None))
        except Refused as refused:
            if not refused.already_there:
                raise refused.error(f"making dataset {did}") from None
            self._complete_dataset(did, rules)

    def _complete_dataset(self, did: str, rules: Sequence[dict[str, Any]]) -> None:
        scope, name = split_did(did)
        try:
            kind = self._connection.ask(lambda client: str(client.get_did(scope, name)["type"]))
            if kind != "DATASET":
                raise ConflictError(f"rucio: {did} is no dataset but a {kind.lower()}")
            present = self._rule_states(did) if rules else {}
            for rule in rules:
                if rule["rse_expression"] not in present:
                    self._add_rule(did, rule)
        except Refused as refused:
            raise refused.error(f"rules of dataset {did}") from None

    def _add_rule(self, did: str, rule: dict[str, Any]) -> None:
        scope, name = split_did(did)
        try:
            self._connection.ask(lambda client: client.add_replication_rule([{"scope": scope, "name": name}], **rule))
        except Refused as refused:
            if refused.already_there:
                return
            error = refused.error(f"rule {rule['rse_expression']} of dataset {did}")
            # The dataset is there, so what is not acceptable is a setting: the activity.
            raise (ConfigError(str(error)) if isinstance(error, DataError) else error) from None

    def _rule_expressions(self, keeping: Keeping) -> tuple[str, ...]:
        wanted = self._settings.rules if keeping.rules is None else keeping.rules
        return tuple(dict.fromkeys(wanted))

    def _rule(self, expression: str, keeping: Keeping) -> dict[str, Any]:
        """A rule of one copy, as arguments of the client."""
        rule = {"account": self._account, "copies": 1, "rse_expression": expression, "grouping": "DATASET"}
        if self._settings.activity:
            rule["activity"] = self._settings.activity
        if keeping.lifetime_s is not None:
            rule["lifetime"] = round(keeping.lifetime_s)
        return rule

    @property
    def _account(self) -> str:
        try:
            return self._connection.account
        except Refused as refused:
            raise refused.error("login") from None

    def _rule_states(self, dataset: str) -> dict[str, str]:
        """The state of each of our rules of `dataset`, by its RSE expression; of several for one expression, the best."""
        scope, name = split_did(dataset)
        account, states = self._account, dict[str, str]()
        try:
            rules = self._connection.rows(lambda client: client.list_did_rules(scope, name), "account", "rse_expression", "state")
        except Refused as refused:
            if refused.kind == NO_DATASET:
                return {}
            raise
        for rule in rules:
            expression = rule["rse_expression"]
            if rule["account"] == account and states.get(expression) != "OK":
                states[expression] = str(rule["state"])
        return states

    # -- replicas ----------------------------------------------------------------------------------------------------------

    def places_for(self, dids: Sequence[str], keeping: Keeping = AS_CONFIGURED) -> dict[str, str]:
        if not self._settings.place or not dids:
            return {}
        element = self._element(keeping)
        return {did: element.place_for(did) for did in dids}

    def add(self, replicas: Sequence[Replica], dataset: str, keeping: Keeping = AS_CONFIGURED) -> None:
        if not replicas:
            return
        _check_contents(replicas)
        element = self._element(keeping)
        files = [_file(replica, element.pfn_to_name(replica.did, replica.path)) for replica in replicas]
        if len(replicas) > BATCH:
            # Several requests are several transactions: a conflict must show before the first of them.
            self._refuse_conflicts(replicas)
        for part in _parts(files):
            self._attach(part, dataset, element.name, replicas)

    def _attach(self, files: Sequence[dict[str, Any]], dataset: str, rse: str, replicas: Sequence[Replica]) -> None:
        """Enter files with their replicas and put them into `dataset`, all or none, as often as it takes."""
        scope, name = split_did(dataset)
        attachment = {"scope": scope, "name": name, "rse": rse, "dids": list(files)}
        doing = f"adding {len(files)} files at {rse} to dataset {dataset}"
        for again in (True, False):
            try:
                self._connection.ask(lambda client: client.add_files_to_datasets([attachment], ignore_duplicate=True))
            except Refused as refused:
                if refused.already_there or refused.kind == MISMATCH:
                    self._refuse_conflicts(replicas)
                if not (refused.already_there and again):
                    raise refused.error(doing) from None
            else:
                return

    def _refuse_conflicts(self, replicas: Sequence[Replica]) -> None:
        """Name the files that Rucio has with other content, or as something else.

        Raises:
            ConflictError: there are some.
        """
        try:
            known = self._known([replica.did for replica in replicas])
        except Refused as refused:
            raise refused.error("looking for conflicts") from None
        conflicts = [text for replica in replicas if (text := _conflict(replica, known.get(replica.did))) is not None]
        if conflicts:
            raise ConflictError("; ".join(conflicts[:3]) + (f"; and {len(conflicts) - 3} more" if len(conflicts) > 3 else ""))

    def _known(self, dids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What Rucio has under these names, by DID."""
        rows: list[dict[str, Any]] = []
        for part in _parts(dids):
            rows += self._connection.rows(methodcaller("get_metadata_bulk", _split(part)), "did_type", *FILE_KEYS)
        return {_did(row): row for row in rows}

    def _replicas(self, dids: Sequence[str]) -> list[dict[str, Any]]:
        """The files among `dids` with their replicas in all states."""
        rows: list[dict[str, Any]] = []
        for part in _parts(dids):
            rows += self._connection.rows(methodcaller("list_replicas", _split(part), all_states=True), "pfns", "rses", *FILE_KEYS)
        asked = set(dids)
        return [row for row in rows if _did(row) in asked]

    def copies(self, dids: Sequence[str], dataset: str, keeping: Keeping = AS_CONFIGURED, *, closely: bool = True) -> dict[str, Copies]:
        """Copies count if they are available, not on a storage element that may drop them, and of the file's size and checksum.

        Only `closely` are the rows of the replicas compared: the server lists the whole dataset for it, a millisecond a file.
        """
        if not dids:
            return {}
        wanted = self._rule_expressions(keeping)
        try:
            states = self._rule_states(dataset) if wanted else {}
            targets = {expression: self._rses(expression) for expression in wanted}
            rows = self._replicas(list(dict.fromkeys(dids)))
            return self._counted(rows, dataset, self._element(keeping), targets, states, closely=closely)
        except Refused as refused:
            raise refused.error(f"copies of files in {dataset}") from None

    def _counted(
        self,
        rows: Sequence[Mapping[str, Any]],
        dataset: str,
        own: StorageElement,
        targets: Mapping[str, frozenset[str]],
        states: Mapping[str, str],
        *,
        closely: bool,
    ) -> dict[str, Copies]:
        contents: dict[str, Contents] = {_did(row): (row["bytes"], row["adler32"] or "") for row in rows}
        available = {_did(row): _available(row) for row in rows}
        at = {
            rse: {did: contents[did] for did, rses in available.items() if rse in rses}
            for rse in {r for rses in available.values() for r in rses}
        }
        whole = {rse: self._rows.agreeing(dataset, rse, files) if closely else files.keys() for rse, files in at.items()}
        found = {}
        for did, pfns in available.items():
            whole_at = {rse: known for rse, known in pfns.items() if did in whole[rse]}
            places = {rse: own.place_of(known) if rse == own.name else next(iter(known), "") for rse, known in whole_at.items()}
            rules = {expression: _state(states.get(expression), rses & places.keys()) for expression, rses in targets.items()}
            found[did] = Copies(did, *contents[did], places, rules)
        return found

    def replicas_of(self, dataset: str) -> list[str]:
        scope, name = split_did(dataset)
        try:
            return sorted(_did(row) for row in self._connection.rows(lambda client: client.list_files(scope, name), *FILE_KEYS))
        except Refused as refused:
            if refused.kind == NO_DATASET:
                return []
            raise refused.error(f"files of dataset {dataset}") from None

    def find(self, dids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
        try:
            rows = self._replicas(list(dict.fromkeys(dids)))
        except Refused as refused:
            raise refused.error(f"copies of {len(dids)} files") from None
        found = {_did(row): self._copies_of(row) for row in rows}
        return {did: copies for did, copies in found.items() if copies}

    def _copies_of(self, row: Mapping[str, Any]) -> tuple[Found, ...]:
        tapes = {info["rse"] for info in row["pfns"].values() if info["type"] == "TAPE"}
        copies = [Found(rse, readable(pfns), rse in tapes) for rse, pfns in _available(row).items()]
        return tuple(sorted(copies, key=lambda copy: (copy.tape, copy.rse != self._settings.rse, copy.rse)))

    # -- recalls -----------------------------------------------------------------------------------------------------------

    def recall(self, recall: Recall) -> RuleState:
        """The files become a dataset of their own, which is gone some time after its rule, and the rule is made when they are all in it: so
        it needs no second look of the server at the dataset."""
        scope, name = split_did(recall.dataset)
        if (known := self.recalled(recall)) is not None:
            return known
        lifetime = round(recall.lifetime_s)
        rule = {"account": self._account, "copies": 1, "rse_expression": recall.rse, "grouping": "DATASET", "lifetime": lifetime}
        try:
            self._make_recalled_dataset(scope, name, 2 * lifetime)
            for part in _parts(_split(recall.dids)):
                attachment = {"scope": scope, "name": name, "dids": list(part)}
                self._connection.ask(partial(_attach_all, attachment))
            self._add_rule(recall.dataset, rule | {"comment": recall.comment[:255] or None})
        except Refused as refused:
            raise refused.error(f"recalling {len(recall.dids)} files as {recall.dataset}") from None
        if (made := self.recalled(recall)) is None:
            raise TransientError(f"rucio: took the rule for {recall.dataset} but does not show it")
        return made

    def _make_recalled_dataset(self, scope: str, name: str, lifetime_s: int) -> None:
        try:
            self._connection.ask(lambda client: client.add_dataset(scope, name, lifetime=lifetime_s))
        except Refused as refused:
            if not refused.already_there:
                raise

    def recalled(self, recall: Recall) -> RuleState | None:
        scope, name = split_did(recall.dataset)
        keys = ("id", "account", "rse_expression", "state")
        try:
            rules = self._connection.rows(lambda client: client.list_did_rules(scope, name), *keys)
        except Refused as refused:
            if refused.kind == NO_DATASET:
                return None
            raise refused.error(f"the rule of {recall.dataset}") from None
        ours = [rule for rule in rules if (rule["account"], rule["rse_expression"]) == (self._account, recall.rse)]
        return next((RuleState(rule["id"], str(rule["state"]), rule.get("error")) for rule in ours), None)

    def _replicas_at(self, dataset: str, rse: str, changed_after: float | None) -> dict[str, Contents]:
        """Size and checksum as the rows of the replicas at `rse` have them. Rucio tells them only of the files of a dataset."""
        scope, name = split_did(dataset)
        # With a scheme that nobody has, no PFNs are made, which would cost most of the time.
        options: dict[str, Any] = {"rse_expression": rse, "schemes": ["none"]}
        if changed_after is not None:
            options["updated_after"] = changed_after
        rows = self._connection.rows(lambda client: client.list_replicas([{"scope": scope, "name": name}], **options), *FILE_KEYS)
        return {_did(row): (row["bytes"], row["adler32"] or "") for row in rows}

    # -- storage elements --------------------------------------------------------------------------------------------------

    def _element(self, keeping: Keeping) -> StorageElement:
        """The storage element that the copy at hand counts as."""
        return self._storage_element(keeping.rse or self._settings.rse)

    def _storage_element(self, rse: str) -> StorageElement:
        """What Rucio says of a storage element, remembered for some minutes."""
        asked_at, element = self._elements.get(rse, (0.0, None))
        if element is None or self._clock() - asked_at > REMEMBER_S:
            place_url = self._settings.place_url if rse == self._settings.rse else None
            try:
                element = self._connection.ask(lambda client: StorageElement.of(client.get_rse(rse), place_url))
            except Refused as refused:
                raise refused.error(f"storage element {rse}") from None
            self._elements[rse] = (self._clock(), element)
        return element

    def _rses(self, expression: str) -> frozenset[str]:
        """The storage elements that an expression stands for, remembered for some minutes."""
        asked_at, rses = self._expressions.get(expression, (0.0, None))
        if rses is None or self._clock() - asked_at > REMEMBER_S:
            try:
                rses = frozenset(row["rse"] for row in self._connection.rows(lambda client: client.list_rses(expression), "rse"))
            except Refused as refused:
                raise refused.error(f"RSE expression {expression!r}") from None
            self._expressions[expression] = (self._clock(), rses)
        return rses

    # -- check -------------------------------------------------------------------------------------------------------------

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        from declare_daemon.catalogs.rucio_check import Wish, findings

        try:
            connection = self._connection
        except ConfigError as error:
            return [Finding("client", False, str(error))]
        try:
            wishes = [
                Wish(
                    item.namespace,
                    item.keeping.rse or self._settings.rse,
                    tuple(self._rule(expression, item.keeping) for expression in self._rule_expressions(item.keeping)),
                )
                for item in wanted
            ]
        except DunePromptError as error:
            return [Finding("login", False, str(error))]
        return findings(connection, self._storage_element, wishes, places_copies=self._settings.place)


def _check_contents(replicas: Sequence[Replica]) -> None:
    """Raises:
    DataError: a checksum is not in the one form that Rucio, which compares texts, takes for the same.
    ConflictError: a file is there twice, with other contents.
    """
    seen: dict[str, Replica] = {}
    for replica in replicas:
        if not ADLER32.fullmatch(replica.adler32):
            raise DataError(f"{replica.did}: adler32 {replica.adler32!r} is not 8 lower-case hexadecimal digits")
        if _contents(seen.setdefault(replica.did, replica)) != _contents(replica):
            raise ConflictError(f"{replica.did}: twice in one batch, with other size or checksum")


def _contents(replica: Replica) -> Contents:
    return replica.size_bytes, replica.adler32


def _attach_all(attachment: dict[str, Any], client: Any) -> bool:
    """Put files that are there into a dataset; those that are in it already stay."""
    return bool(client.add_files_to_datasets([attachment], ignore_duplicate=True))


def _file(replica: Replica, pfn: str | None) -> dict[str, Any]:
    """A file as `add_files_to_datasets` wants it."""
    scope, name = split_did(replica.did)
    file = {"scope": scope, "name": name, "bytes": replica.size_bytes, "adler32": replica.adler32}
    return file if pfn is None else {**file, "pfn": pfn}


def _conflict(replica: Replica, known: Mapping[str, Any] | None) -> str | None:
    """What Rucio has under the name of a replica, if that is not the same file."""
    if known is None:
        return None
    if known["did_type"] != "FILE":
        return f"{replica.did}: Rucio has a {str(known['did_type']).lower()} of that name"
    there = known["bytes"], known["adler32"]
    if there == _contents(replica):
        return None
    return f"{replica.did}: declared with size {there[0]}, adler32 {there[1]}; here size {replica.size_bytes}, adler32 {replica.adler32}"


def _available(row: Mapping[str, Any]) -> dict[str, list[str]]:
    """Storage element -> PFNs of each copy that Rucio calls available; caches, which drop copies as they like, are left out."""
    volatile = {info["rse"] for info in row["pfns"].values() if info["volatile"]}
    rses = {rse for rse, state in (row.get("states") or {}).items() if state == "AVAILABLE"} - volatile
    return {rse: list(row["rses"].get(rse) or ()) for rse in rses}


def _state(state: str | None, copies: Set[str]) -> str:
    """What a rule is to one file. It says OK also while files that joined its dataset later wait for the server's next look at it."""
    if state is None:
        return MISSING
    return NO_COPY if state == "OK" and not copies else state


def _did(row: Mapping[str, Any]) -> str:
    return f"{row['scope']}:{row['name']}"


def _split(dids: Iterable[str]) -> list[dict[str, str]]:
    return [dict(zip(("scope", "name"), split_did(did), strict=True)) for did in dids]


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
