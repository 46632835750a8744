"""Three ways to talk to SAM: the module `samweb_client`, its HTTP interface, the command `samweb`. All answer and fail alike.

The interface and its errors are those of sam-web-client (`files.py`, `_exceptions.py`, `samweb_cli.py`). Its module and command repeat what
failed for six hours with an hour's patience for each try; here nothing is repeated, as SAM's caller looks before it repeats.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import requests

from declare_daemon.catalogs.http import HttpSession, Refusal, raise_for, shortened
from dune_prompt.errors import CommandError, ConfigError, TransientError
from dune_prompt.process import run
from dune_prompt.settings.catalogs import SamSettings

# A query longer than this is sent as a form: servers cut long addresses.
MAX_IN_ADDRESS = 1024
# Time the command needs beside waiting for SAM: a Python has to start.
STARTING_S = 15.0

# SAM's names of errors.
FILE_EXISTS, NOT_FOUND, INVALID_METADATA = "FileAlreadyExists", "FileNotFound", "InvalidMetadata"

Form = dict[str, Any]
Result = TypeVar("Result")


class SamClient(Protocol):
    """What we ask of SAM. Any number of threads may ask at once.

    Errors: `Refusal` (SAM refuses this request), `TransientError` (no clear answer), `ConfigError` (no right, wrong address).
    """

    def metadata(self, names: Sequence[str], *, locations: bool = False) -> list[Form]:
        """Metadata of these files, with their `locations` if asked; unknown files are absent."""

    def declare(self, form: Form) -> None:
        """Enter one file."""

    def validate(self, form: Form) -> None:
        """Return if `declare` would accept the metadata, as far as SAM looks at them."""

    def modify(self, changes: Sequence[Form]) -> None:
        """Change fields of files that are there, each named by its `file_name`."""

    def add_location(self, name: str, location: str) -> None:
        """Say that a copy of the file is in the folder `location` (`prefix:/folder`)."""

    def remove_location(self, name: str, location: str) -> None:
        """Say that no copy is there any more."""

    def retire(self, name: str) -> None:
        """Take a file out of all queries."""

    def files(self, dims: str) -> list[str]:
        """Names of the files a query in SAM's dimensions language finds."""

    def count(self, dims: str) -> int:
        """How many files a query finds."""

    def definition(self, name: str) -> Form:
        """What SAM tells of a dataset definition: its `dimensions`, and its `description` if it has one."""

    def define(self, name: str, dims: str, description: str) -> None:
        """Give a query a name; it belongs to the experiment's group. SAM never changes the query of a name that is taken."""

    def rename_definition(self, name: str, new_name: str) -> None:
        """Give a definition another name; what has used it keeps it."""

    def close(self) -> None: ...


def open_client(settings: SamSettings) -> SamClient:
    """The client the settings ask for; no server is asked.

    Raises:
        ConfigError: it is not installed.
    """
    match settings.client:
        case "http":
            return HttpClient(settings)
        case "samweb":
            return CommandClient(settings)
        case "samweb_client":
            return ModuleClient(settings)
        case _:
            with suppress(ConfigError):
                return ModuleClient(settings)
            return HttpClient(settings)


class HttpClient:
    """SAM's HTTP interface."""

    def __init__(self, settings: SamSettings) -> None:
        self._url, self._secure_url = _urls(settings)
        self._session = HttpSession(
            "SAM",
            timeout_s=settings.timeout,
            connections=settings.connections,
            cert=settings.cert,
            key=settings.key,
            headers={"Accept": "application/json", "SAM-Role": "default"},
        )

    def metadata(self, names: Sequence[str], *, locations: bool = False) -> list[Form]:
        form: dict[str, Any] = {"file_name": list(names)} | ({"locations": 1} if locations else {})
        return _list(self._session.json("POST", f"{self._url}/files/metadata", form=form))

    def declare(self, form: Form) -> None:
        self._write("POST", "/files", content=form)

    def validate(self, form: Form) -> None:
        self._session.request("POST", f"{self._url}/files/validate_metadata", content=form)

    def modify(self, changes: Sequence[Form]) -> None:
        self._write("PUT", "/files", content=list(changes), headers={"SAM-Role": "*"})

    def add_location(self, name: str, location: str) -> None:
        self._write("POST", f"{_file(name)}/locations", form={"add": location}, headers={"SAM-Role": "*"})

    def remove_location(self, name: str, location: str) -> None:
        self._write("POST", f"{_file(name)}/locations", form={"remove": location}, headers={"SAM-Role": "*"})

    def retire(self, name: str) -> None:
        self._write("POST", f"{_file(name)}/retired_date", headers={"SAM-Role": "*"})

    def files(self, dims: str) -> list[str]:
        return self._query("/files/list", dims, {"format": "plain"}).split()

    def count(self, dims: str) -> int:
        return _number(self._query("/files/count", dims, {}))

    def definition(self, name: str) -> Form:
        return _definition(self._session.json("GET", f"{self._url}{_definition_path(name)}/describe"))

    def define(self, name: str, dims: str, description: str) -> None:
        form = {"defname": name, "dims": dims, "group": _experiment(self._url), "description": description}
        self._write("POST", "/definitions/create", form=form)

    def rename_definition(self, name: str, new_name: str) -> None:
        self._write("PUT", _definition_path(name), form={"defname": new_name}, headers={"SAM-Role": "*"})

    def close(self) -> None:
        self._session.close()

    def _query(self, path: str, dims: str, params: Mapping[str, str]) -> str:
        if len(dims) > MAX_IN_ADDRESS:
            answer = self._session.request("POST", self._url + path, params=params, form={"dims": dims})
        else:
            answer = self._session.request("GET", self._url + path, params={**params, "dims": dims})
        return answer.decode("utf-8", "replace")

    def _write(self, method: str, path: str, **arguments: Any) -> None:
        self._session.request(method, self._secure_url + path, proves=True, **arguments)


class ModuleClient:
    """The module `samweb_client`. Its client is made for one thread, so each thread gets one."""

    def __init__(self, settings: SamSettings) -> None:
        try:
            self._module = importlib.import_module("samweb_client")
        except ImportError:
            raise ConfigError("SAM: the module samweb_client is not installed here; set `client: http`") from None
        self._settings = settings
        self._url, self._secure_url = _urls(settings)
        self._of_thread = threading.local()

    def metadata(self, names: Sequence[str], *, locations: bool = False) -> list[Form]:
        return _list(self._ask(lambda samweb: samweb.getMultipleMetadata(list(names), locations=locations)))

    def declare(self, form: Form) -> None:
        self._ask(lambda samweb: samweb.declareFile(md=form))

    def validate(self, form: Form) -> None:
        self._ask(lambda samweb: samweb.validateFileMetadata(md=form))

    def modify(self, changes: Sequence[Form]) -> None:
        self._ask(lambda samweb: samweb.modifyMetadata(md=list(changes)))

    def add_location(self, name: str, location: str) -> None:
        self._ask(lambda samweb: samweb.addFileLocation(name, location))

    def remove_location(self, name: str, location: str) -> None:
        self._ask(lambda samweb: samweb.removeFileLocation(name, location))

    def retire(self, name: str) -> None:
        self._ask(lambda samweb: samweb.retireFile(name))

    def files(self, dims: str) -> list[str]:
        return [str(name) for name in self._ask(lambda samweb: samweb.listFiles(dims))]

    def count(self, dims: str) -> int:
        return int(self._ask(lambda samweb: samweb.countFiles(dims)))

    def definition(self, name: str) -> Form:
        return _definition(self._ask(lambda samweb: samweb.descDefinitionDict(name)))

    def define(self, name: str, dims: str, description: str) -> None:
        self._ask(lambda samweb: samweb.createDefinition(name, dims, group=_experiment(self._url), description=description))

    def rename_definition(self, name: str, new_name: str) -> None:
        self._ask(lambda samweb: samweb.modifyDefinition(name, defname=new_name))

    def close(self) -> None:
        self._of_thread = threading.local()

    def _samweb(self) -> Any:
        if not hasattr(self._of_thread, "samweb"):
            url, secure_url = self._url, self._secure_url

            class OurClient(self._module.SAMWebClient):  # type: ignore[misc, name-defined]
                """The module's client, at the address of the settings: by itself it only takes one from the environment."""

                def get_baseurl(self, secure: bool | None = None) -> str:
                    return secure_url if secure or self.secure else url

            cert, key = (str(path) if path else None for path in (self._settings.cert, self._settings.key))
            samweb = OurClient(experiment=_experiment(url), cert=cert, key=key)
            # Its constructor cannot set these (`max_timeout` fails there), and by themselves they are six hours and one hour.
            samweb.max_timeout = 0
            samweb.socket_timeout = self._settings.timeout
            samweb.http_client.verboseretries = False
            self._of_thread.samweb = samweb
        return self._of_thread.samweb

    def _ask(self, call: Callable[[Any], Result]) -> Result:
        errors = self._module.exceptions
        try:
            return call(self._samweb())
        except errors.SAMWebHTTPError as error:
            kind = type(error).__name__
            told = None if re.fullmatch(r"HTTP\w+|GenericHTTPError|SAMWebHTTPError", kind) else kind
            body = json.dumps({"error": told, "message": str(error.msg)}) if told else str(error.msg)
            raise_for(int(error.code), body, f"SAM: {error.method} {urlsplit(str(error.url)).path}")
            raise TransientError(f"SAM: {error}") from None
        except errors.SAMWebSSLError as error:
            raise ConfigError(f"SAM: certificates do not work: {shortened(str(error))}") from None
        except RecursionError:
            raise ConfigError("SAM: sends us elsewhere again and again, as it does without a valid token or certificate") from None
        except (errors.Error, requests.RequestException, OSError, ValueError, LookupError) as error:
            # What the module does not catch of an answer that is cut or no JSON is among them.
            raise TransientError(f"SAM: {type(error).__name__}: {shortened(str(error))}") from None


class CommandClient:
    """The command `samweb`. It has exit code 1 for all errors: they are told apart by their text."""

    def __init__(self, settings: SamSettings) -> None:
        self._url, secure_url = _urls(settings)
        self._env = dict(os.environ) | {"SAM_WEB_BASE_URL": self._url, "SAM_WEB_BASE_SSL_URL": secure_url}
        self._timeout_s = settings.timeout
        patience = str(max(1, round(settings.timeout)))
        self._base = ["samweb", "-e", _experiment(self._url), "--max-timeout", "0", "--socket-timeout", patience]
        if settings.cert:
            self._base += ["--cert", str(settings.cert)]
        if settings.key:
            self._base += ["--key", str(settings.key)]

    def metadata(self, names: Sequence[str], *, locations: bool = False) -> list[Form]:
        # A single file is answered in another form, and missing it is an error: asked for twice, it is a list like any other.
        asked = list(names) * 2 if len(names) == 1 else list(names)
        answer = self._run("get-metadata", "--json", *(["--locations"] if locations else []), *asked)
        return list({form["file_name"]: form for form in _list(_json(answer))}.values())

    def declare(self, form: Form) -> None:
        self._run("declare-file", "/dev/stdin", stdin=json.dumps(form))

    def validate(self, form: Form) -> None:
        self._run("validate-metadata", "/dev/stdin", stdin=json.dumps(form))

    def modify(self, changes: Sequence[Form]) -> None:
        self._run("modify-metadata", "/dev/stdin", stdin=json.dumps(list(changes)))

    def add_location(self, name: str, location: str) -> None:
        self._run("add-file-location", name, location)

    def remove_location(self, name: str, location: str) -> None:
        self._run("remove-file-location", name, location)

    def retire(self, name: str) -> None:
        self._run("retire-file", name)

    def files(self, dims: str) -> list[str]:
        return self._run("list-files", dims).split()

    def count(self, dims: str) -> int:
        return _number(self._run("count-files", dims))

    def definition(self, name: str) -> Form:
        return _definition(_described(self._run("describe-definition", name)))

    def define(self, name: str, dims: str, description: str) -> None:
        self._run("create-definition", f"--group={_experiment(self._url)}", f"--description={description}", name, dims)

    def rename_definition(self, name: str, new_name: str) -> None:
        self._run("modify-definition", f"--defname={new_name}", name)

    def close(self) -> None:
        pass

    def _run(self, command: str, *arguments: str, stdin: str | None = None) -> str:
        try:
            done = run([*self._base, command, *arguments], timeout_s=self._timeout_s + STARTING_S, stdin=stdin, env=self._env, check=False)
        except CommandError as error:  # killed at the time limit
            raise TransientError(f"SAM: samweb {command}: {error}") from None
        if done.returncode == 0:
            return done.stdout
        raise _error_of_command(command, done.returncode, f"{done.stderr}\n{done.stdout}".strip())


_HTTP_ERROR = re.compile(r"HTTP error: (\d{3})")
# The texts of SAM's refusals, and what they are; the first that fits counts.
_TEXTS: tuple[tuple[re.Pattern[str], int, str | None], ...] = (
    (re.compile(r"already exists", re.IGNORECASE), 409, FILE_EXISTS),
    (re.compile(r"not an admin|authenticated as|permission|forbidden|not authori[sz]ed|access denied", re.IGNORECASE), 403, None),
    (re.compile(r"SSL error|certificate|RecursionError", re.IGNORECASE), 403, None),
    (re.compile(r"\bparent", re.IGNORECASE), 400, INVALID_METADATA),
    (re.compile(r"not found|no such file|does not exist", re.IGNORECASE), 404, NOT_FOUND),
    (re.compile(r"\b(missing|unknown|invalid|must|illegal|parse error|retired)\b", re.IGNORECASE), 400, INVALID_METADATA),
)


def _error_of_command(command: str, exit_code: int, text: str) -> Exception:
    """What went wrong, from what the command printed. What is not understood is taken for an outage: nobody is blamed for it."""
    where = f"SAM: samweb {command}"
    if match := _HTTP_ERROR.search(text):
        return TransientError(f"{where}: error {match[1]} of the server")
    if exit_code == 1 and "://" not in text.split("\n", 1)[0].partition(" ")[0]:
        for pattern, status, kind in _TEXTS:
            if pattern.search(text):
                return Refusal(status, kind, text) if kind else ConfigError(f"{where}: no right to do this: {shortened(text)}")
    if exit_code in (2, 3):
        return ConfigError(f"{where}: exit code {exit_code}: {shortened(text)}")
    return TransientError(f"{where}: exit code {exit_code}: {shortened(text)}")


def _urls(settings: SamSettings) -> tuple[str, str]:
    """The address for reading, and the one for writing."""
    url = str(settings.url).rstrip("/")
    return url, str(settings.secure_url).rstrip("/") if settings.secure_url else url


def _experiment(url: str) -> str:
    """The experiment in an address `…/sam/<experiment>[/dev]/api`."""
    match = re.search(r"/sam/([^/]+)", urlsplit(url).path)
    return match[1] if match else "dune"


def _file(name: str) -> str:
    return f"/files/name/{quote(name, safe='')}"


def _definition_path(name: str) -> str:
    return f"/definitions/name/{quote(name, safe='')}"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise TransientError(f"SAM: the answer is no JSON: {shortened(text)}") from None


def _list(answer: Any) -> list[Form]:
    if not isinstance(answer, list) or not all(isinstance(item, dict) and "file_name" in item for item in answer):
        raise TransientError(f"SAM: an answer of another form than metadata: {shortened(str(answer))}")
    return answer


# The lines `samweb describe-definition` prints, and what the interface calls them.
_DESCRIBED = {
    "Definition Name": "defname",
    "Definition Id": "defid",
    "Creation Date": "create_time",
    "Username": "username",
    "Group": "group",
    "Description": "description",
    "Dimensions": "dimensions",
}


def _described(text: str) -> Form:
    """A definition as the command prints it: a label and a value on each line; long values go on in the next one."""
    form: Form = {}
    last = None
    for line in text.splitlines():
        label, colon, value = line.strip().partition(":")
        if colon and label in _DESCRIBED and _DESCRIBED[label] not in form:
            last = _DESCRIBED[label]
            form[last] = value.strip()
        elif last is not None:
            form[last] = f"{form[last]} {line.strip()}"
    return form


def _definition(answer: Any) -> Form:
    if not isinstance(answer, dict) or not isinstance(answer.get("dimensions"), str):
        raise TransientError(f"SAM: an answer of another form than a definition: {shortened(str(answer))}")
    return answer


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TransientError(f"SAM: the answer is no number: {shortened(text)}") from None
