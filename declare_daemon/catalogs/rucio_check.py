"""Whether Rucio lets us do what we are set up for, tried for real and without a trace.

What would be written is asked for together with a rule that cannot be kept: the server goes through all rights, names and limits of the
rest before it takes everything back.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from declare_daemon.catalogs.protocol import Finding
from declare_daemon.catalogs.rucio_errors import NO_DATASET, Refused
from declare_daemon.catalogs.rucio_storage import StorageElement
from dune_prompt.errors import CommandError, ConfigError, DunePromptError
from dune_prompt.process import run

if TYPE_CHECKING:
    from declare_daemon.catalogs.rucio_client import Connection, Credential

# More than there are storage elements in the world.
IMPOSSIBLE = 9999
NOT_ENOUGH = "InsufficientTargetRSEs"
# Should a server take it nevertheless, it forgets it.
TRIAL_LIFETIME_S = 86400


@dataclass(frozen=True, slots=True)
class Wish:
    """Files to be registered at a storage element, and the rules of their datasets (as arguments of the client)."""

    namespace: str
    rse: str
    rules: tuple[Mapping[str, Any], ...]


def findings(
    connection: Connection, element: Callable[[str], StorageElement], wishes: Sequence[Wish], *, places_copies: bool
) -> list[Finding]:
    """Try the login, then every storage element, namespace and rule once. Never raises."""
    try:
        login = _login(connection)
    except Refused as refused:
        return [Finding("login", False, str(refused.error("login")))]
    except DunePromptError as error:
        return [Finding("login", False, str(error))]
    trials: dict[str, Callable[[], str]] = {}
    for wish in wishes:
        trials[f"storage element {wish.rse}"] = partial(_storage, connection, element, wish, places_copies)
        trials[f"writing to {wish.namespace}"] = partial(_writing, connection, wish)
        for rule in wish.rules:
            trials[f"rule {rule['rse_expression']} in {wish.namespace}"] = partial(_rule, connection, wish, rule)
    return [login, *(_tried(what, trial) for what, trial in trials.items())]


def _tried(what: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, trial())
    except Refused as refused:
        return Finding(what, False, refused.text)
    except DunePromptError as error:
        return Finding(what, False, str(error))


def _login(connection: Connection) -> Finding:
    account = connection.ask(lambda client: str(client.whoami()["account"]))
    credential = connection.credential
    return Finding("login", True, f"{credential.kind} at {connection.host}", account, _end(credential))


def _end(credential: Credential) -> float | None:
    """When what we log in with is no longer good; None if that is not known, or never (a login by password renews itself)."""
    if credential.kind == "oidc":
        return end_of_token(credential.token)
    return end_of_certificate(credential.certificate) if credential.certificate else None


def end_of_token(token: str) -> float | None:
    """The claim `exp` of a JSON Web Token (RFC 7519)."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def end_of_certificate(path: str) -> float | None:
    """The end of the first certificate in a file: of a proxy, its own."""
    try:
        text = run(["openssl", "x509", "-enddate", "-noout", "-in", path], timeout_s=10).stdout
        return float(ssl.cert_time_to_seconds(text.strip().removeprefix("notAfter=")))
    except (CommandError, ConfigError, ValueError):
        return None


def _storage(connection: Connection, describe: Callable[[str], StorageElement], wish: Wish, places_copies: bool) -> str:
    element = describe(wish.rse)
    if not element.writable:
        raise ConfigError("blocked for writing by an administrator of Rucio")
    if element.volatile:
        raise ConfigError("a cache (volatile): it takes no files")
    if element.algorithm is None:
        return f"takes files anywhere below {element.place_prefix}"
    did = f"{wish.namespace}:dune-prompt-check"
    ours, theirs = element.pfn_for(did), connection.ask(lambda client: client.lfns2pfns(element.name, [did], operation="write")[did])
    if element.place_of([theirs]) != element.place_for(did):
        raise ConfigError(f"its path of {did} is {theirs}, ours would be {ours}: Rucio uses a path algorithm that is not known here")
    return f"{'copies are made' if places_copies else 'files must lie'} at {element.place_for(did)} and the like"


def _writing(connection: Connection, wish: Wish) -> str:
    """Files may be added to datasets (one that is not there), and the namespace exists (a rule that no storage element is left for)."""
    name = _trial_name()
    file = {"scope": wish.namespace, "name": f"{name}.file", "bytes": 1, "adler32": "00000001"}
    attachment = {"scope": wish.namespace, "name": name, "rse": wish.rse, "dids": [file]}
    _refused(connection, NO_DATASET, lambda client: client.add_files_to_datasets([attachment], ignore_duplicate=True))
    nowhere = {"account": connection.account, "copies": 1, "rse_expression": f"{wish.rse}\\{wish.rse}", "grouping": "DATASET"}
    _refused(
        connection,
        "InvalidRSEExpression",
        lambda client: client.add_dataset(wish.namespace, name, rules=[nowhere], lifetime=TRIAL_LIFETIME_S),
    )
    return "may make datasets and add files"


def _rule(connection: Connection, wish: Wish, rule: Mapping[str, Any]) -> str:
    expression = rule["rse_expression"]
    rses = sorted(row["rse"] for row in connection.rows(lambda client: client.list_rses(expression), "rse"))
    name = _trial_name()
    # The server checks the activity only of a rule that is added to a dataset.
    _refused(connection, NO_DATASET, lambda client: client.add_replication_rule([{"scope": wish.namespace, "name": name}], **rule))
    rules = [dict(rule), {**rule, "copies": IMPOSSIBLE}]
    _refused(connection, NOT_ENOUGH, lambda client: client.add_dataset(wish.namespace, name, rules=rules, lifetime=TRIAL_LIFETIME_S))
    return f"{', '.join(rses)}; {'; '.join(_room(connection, set(rses))) or 'limits are not told'}"


def _room(connection: Connection, rses: set[str]) -> Iterator[str]:
    account = connection.account
    for usage in connection.rows(lambda client: client.get_local_account_usage(account), "rse", "bytes_limit", "bytes_remaining"):
        if usage["rse"] in rses:
            limit, left = float(usage["bytes_limit"]), float(usage["bytes_remaining"])
            room = "has no limit" if limit == float("inf") else f"has {left / 1e12:.3g} of {limit / 1e12:.3g} TB left"
            yield f"{usage['rse']} {room}"


def _refused(connection: Connection, kind: str, question: Callable[[Any], Any]) -> None:
    """Ask for something impossible; being refused for another reason than `kind` is what we want to know."""
    try:
        connection.ask(question)
    except Refused as refused:
        if refused.kind != kind:
            raise
    else:
        raise ConfigError(f"the server did something impossible instead of refusing it with {kind}")


def _trial_name() -> str:
    return f"dune-prompt-check-{uuid.uuid4().hex}"
