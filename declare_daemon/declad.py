"""Translates a configuration of declad (fermitools/declad 2.3) into a site file, and names every key that cannot be carried over.

Meaning of the keys: declad's `config.py`, `mover.py`, `local_scanner.py`, `xrootd_scanner.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import HttpUrl, TypeAdapter, ValidationError

from declare_daemon.declad_keys import EMPTY, REFUSED_BY_DECLAD, UNKNOWN, WITHOUT_COUNTERPART
from dune_prompt.errors import ConfigError
from dune_prompt.settings.paths import XROOTD

PLACEHOLDER = "/path/to/the/buffer"
_RSE = re.compile(r"[A-Z0-9]+([_-][A-Z0-9]+)*")
_LOCATION = re.compile(r"([A-Za-z0-9_.-]+:)")
_URL = TypeAdapter(HttpUrl)


@dataclass(frozen=True, slots=True)
class Note:
    """A key of declad's file that is not, or not fully, in the site file: what was written there (shortened), and why."""

    key: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Translation:
    """`site_yaml` is a commented site file that loads. Every key of declad's is in `carried` (to which of ours) or in `notes`, or both."""

    site_yaml: str
    carried: dict[str, str]
    notes: list[Note]


def site_from_declad(text: str) -> Translation:
    """Translate the configuration `text`. What it does not say is left at our defaults.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"declad's configuration is not YAML: {str(error)[:300]}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"declad's configuration must have keys and values, found {type(content).__name__}")
    source = _Source(_flat(content))
    catalogs = [*_sam(source), *_metacat(source), *_rucio(source)]
    if not any(entry["kind"] in ("sam", "metacat") for entry in catalogs):
        catalogs.insert(0, {"kind": "embedded"})
    buffer = _buffer(source)
    mounted = not buffer["path"].startswith(XROOTD)
    site_yaml = _written(buffer, _streams(source, mounted=mounted), catalogs, _listen(source))
    source.name_the_rest()
    return Translation(site_yaml, source.carried, source.notes)


def _flat(content: dict[Any, Any]) -> dict[str, Any]:
    """Keys as declad's own check names them: `section.key` for what is in a section."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[f"{key}"] = value
    return flat


@dataclass
class _Source:
    """declad's values, and what has become of each."""

    values: dict[str, Any]
    carried: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, key: str, why: str) -> None:
        """Say why a key that is there is not carried, or what is different now."""
        if key in self.values and all(note.key != key for note in self.notes):
            self.notes.append(Note(key, _shortened(self.values[key]), why))

    def carry(self, key: str, to: str) -> None:
        if key in self.values:
            self.carried[key] = to

    def text(self, key: str, form: Callable[[str], str | None] = lambda text: text) -> str | None:
        """The value of `key` as `form` wants it; None, with a note, when it is nothing it can use."""
        value = self.values.get(key)
        if value is None:
            return None
        usable = isinstance(value, str) and value.strip() and "\0" not in value
        found = form(value.strip()) if usable else None
        if not found:
            self.note(key, "not understood")
        return found

    def on(self, key: str) -> bool:
        """A switch, which is on where nothing is said."""
        value = self.values.get(key, True)
        return bool(value) if isinstance(value, bool | int) or value is None else str(value).lower() not in ("no", "false", "off", "0", "")

    def name_the_rest(self) -> None:
        """A note for every key that nobody has taken."""
        for key, value in self.values.items():
            if key in self.carried:
                continue
            if key in REFUSED_BY_DECLAD:
                self.note(key, "declad's documentation names this key, its check refuses it")
            elif value is None or value == {}:
                self.note(key, EMPTY)
            else:
                self.note(key, WITHOUT_COUNTERPART.get(key, UNKNOWN))


def _shortened(value: Any) -> str:
    try:
        text = " ".join(str(value).split())
    except ValueError:  # Python writes no number of thousands of digits
        text = "a very long number"
    return text if len(text) <= 100 else text[:99] + "…"


# ---- forms of values ----


def _url(text: str) -> str | None:
    try:
        _URL.validate_python(text)
    except ValidationError:
        return None
    return text


def _absolute(text: str) -> str | None:
    return text if text.startswith("/") and len(text.strip("/")) > 0 else None


def _server(text: str) -> str | None:
    """`host[:port]`, of a server that is written with or without `root://`."""
    host = text.removeprefix(XROOTD).removeprefix("xroot://").rstrip("/")
    return host if re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", host) else None


def _is_local(server: str | None) -> bool:
    return server is None or server.partition(":")[0] in ("localhost", "127.0.0.1")


# ---- the parts of a site file ----


def _buffer(source: _Source) -> dict[str, Any]:
    """The dropbox. declad's mover reaches it at `source_*`, its scanner lists it at `scanner.*`; both are one folder."""
    kind = source.values.get("scanner.type")
    location = source.text("scanner.location", _absolute)
    root = source.text("source_root_path", _absolute)
    server = source.text("scanner.server", _server)
    source_server = source.text("source_server", _server)
    folder = location or root
    if folder is None:
        return {"path": PLACEHOLDER}
    source.carry("scanner.location" if location else "source_root_path", "buffer.path")
    source.note("scanner.path", "the folder that is listed is `scanner.location`")
    if kind == "xrootd":
        source.carry("scanner.type", "buffer.path")
        address = server or source_server
        if not address:
            source.note("scanner.type", "xrootd without a server: the folder is taken for a mounted one")
            return {"path": folder}
        source.carry("scanner.server" if server else "source_server", "buffer.path")
        if server:
            source.note("source_server", "the buffer is reached at one place: `scanner.server`")
        source.note("source_root_path", "the buffer is reached at one place: `scanner.location`")
        source.note("scanner.replace_location", "only for mounted folders")
        return {"path": f"{XROOTD}{address}/{folder}"}
    if kind == "local":
        source.carry("scanner.type", "buffer.path")
    else:
        source.note("scanner.type", "neither local nor xrootd: the folder is taken for a mounted one")
    source.note("scanner.server", "a mounted folder is listed without a server")
    buffer: dict[str, Any] = {"path": folder}
    if root and location and source_server and not _is_local(source_server):
        buffer["worker_url"] = f"{XROOTD}{source_server}/{root}"
        source.carry("source_server", "buffer.worker_url")
        source.carry("source_root_path", "buffer.worker_url")
    else:
        source.note("source_server", "a mounted folder is read without a server")
        source.note("source_root_path", "the same folder as `scanner.location`")
    source.note("scanner.replace_location", "`buffer.path` is where the folder is mounted, `buffer.worker_url` where others reach it")
    return buffer


def _streams(source: _Source, *, mounted: bool) -> list[dict[str, Any]]:
    """A stream for each pattern: declad has no kinds of files, so they are only declared."""
    patterns: list[str] = []
    for key in ("scanner.filename_patterns", "scanner.filename_pattern"):
        value = source.values.get(key)
        texts = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str) and item.strip()]
        if texts and not patterns:
            patterns = list(dict.fromkeys(texts))
            source.carry(key, "streams[].pattern")
        elif value is not None:
            source.note(key, "`scanner.filename_patterns` counts" if patterns else "not understood")
    suffixes = [key for key in ("meta_suffix", "scanner.meta_suffix") if key in source.values]
    for key in suffixes:
        if source.values[key] == ".json":
            source.carry(key, "streams[].sidecar")
        else:
            source.note(key, "sidecars are called `<name>.json`, always")
    extra: dict[str, Any] = {}
    if source.values.get("scanner.metadata_extractor") and not mounted:
        source.note("scanner.metadata_extractor", "only metadata of files on a mounted file system can be read")
    elif source.values.get("scanner.metadata_extractor"):
        extra = {"sidecar": False}
        source.carry("scanner.metadata_extractor", "streams[].sidecar")
        source.note("scanner.metadata_extractor", "no extractor is run: metadata are read from the attributes of the HDF5 file")
    names = ["declad" if number == 1 else f"declad-{number}" for number in range(1, len(patterns) + 1)]
    return [
        {"name": name, "pattern": pattern, "declare": True, "process": False, **extra}
        for name, pattern in zip(names or ["declad"], patterns or ["*"], strict=True)
    ]


def _sam(source: _Source) -> list[dict[str, Any]]:
    keys = [key for key in source.values if key.startswith("samweb.")]
    url = source.text("samweb.url", _url) if source.on("declare_to_sam") else None
    if url is None:
        why = "it has no `samweb.url` to go to" if source.on("declare_to_sam") else "`declare_to_sam` is off"
        for key in [*keys, "sam_location_template"]:
            source.note(key, f"files are not declared to SAM: {why}")
        if source.on("declare_to_sam"):
            source.note("declare_to_sam", "there is no usable `samweb.url`, so SAM is left out")
        source.carry("declare_to_sam", "catalogs")
        return []
    entry: dict[str, Any] = {"kind": "sam", "url": url}
    source.carry("declare_to_sam", "catalogs")
    source.carry("samweb.url", "catalogs[sam].url")
    certificate, key_file = source.text("samweb.cert", _absolute), source.text("samweb.key", _absolute)
    if certificate:
        entry["cert"] = certificate
        source.carry("samweb.cert", "catalogs[sam].cert")
        if key_file and key_file != certificate:
            entry["key"] = key_file
        if key_file:
            source.carry("samweb.key", "catalogs[sam].key")
    else:
        source.note("samweb.key", "a key without `samweb.cert` is of no use")
    template = source.text("sam_location_template")
    if template and (match := _LOCATION.match(template)):
        entry["location"] = match[1]
        source.carry("sam_location_template", "catalogs[sam].location")
        source.note("sam_location_template", "only the prefix: the folder is where the file is")
    elif template:
        source.note("sam_location_template", "it does not begin with the name of a storage and a colon, such as `cern-eos:`")
    return [entry]


def _metacat(source: _Source) -> list[dict[str, Any]]:
    url = source.text("metacat_url", _url) if source.on("declare_to_metacat") else None
    if url is None:
        if source.on("declare_to_metacat"):
            source.note("declare_to_metacat", "there is no usable `metacat_url`, so MetaCat is left out")
        source.note("metacat_url", "`declare_to_metacat` is off")
        source.carry("declare_to_metacat", "catalogs")
        return []
    source.carry("declare_to_metacat", "catalogs")
    source.carry("metacat_url", "catalogs[metacat].url")
    return [{"kind": "metacat", "url": url, "auth": "library"}]


def _rucio(source: _Source) -> list[dict[str, Any]]:
    keys = [key for key in source.values if key.startswith("rucio.") and key != "rucio.declare_to_rucio"]
    rse = None
    why = "`rucio.declare_to_rucio` is off"
    if source.on("rucio.declare_to_rucio"):
        rse = source.text("rucio.drop_rse", lambda text: text if _RSE.fullmatch(text) else None)
        why = "there is no usable `rucio.drop_rse`, which is the storage element the copies count as"
    source.carry("rucio.declare_to_rucio", "catalogs")
    if rse is None:
        for key in keys:
            source.note(key, f"Rucio is left out: {why}")
        if source.on("rucio.declare_to_rucio"):
            source.note("rucio.declare_to_rucio", why)
        _no_copies(source, "without Rucio nothing is copied")
        return []
    entry: dict[str, Any] = {"kind": "rucio", "rse": rse}
    source.carry("rucio.drop_rse", "catalogs[rucio].rse")
    targets = source.values.get("rucio.target_rses")
    if targets is not None:
        rules = targets if isinstance(targets, list) else [targets]
        if all(isinstance(rule, str) and rule.strip() for rule in rules):
            entry |= {"rules": rules} if rules else {}
            source.carry("rucio.target_rses", "catalogs[rucio].rules")
        else:
            source.note("rucio.target_rses", "not understood")
    if activity := source.text("rucio.activity"):
        entry["activity"] = activity
        source.carry("rucio.activity", "catalogs[rucio].activity")
    return [entry | _place(source)]


def _place(source: _Source) -> dict[str, Any]:
    """Where copies are made. declad's `hash` is the path Rucio itself gives, so the copy can be made by us."""
    function = source.values.get("rel_path_function")
    root = source.text("destination_root_path", _absolute)
    if function != "hash" or root is None:
        why = "copies are made only at the path Rucio gives (`rel_path_function: hash`), below `destination_root_path`"
        _no_copies(source, f"{why}; the file counts as the storage element's copy where it is")
        return {}
    server = source.text("destination_server", _server) or source.text("source_server", _server)
    source.carry("rel_path_function", "catalogs[rucio].place")
    source.carry("destination_root_path", "catalogs[rucio].place_url")
    if source.values.get("transfer_proto", "root") == "root":
        source.carry("transfer_proto", "catalogs[rucio].place_url")
    else:
        source.note("transfer_proto", "copies are made with XRootD")
    if _is_local(server):
        source.note("destination_server", "a mounted folder is written without a server")
        return {"place": True, "place_url": root}
    source.carry("destination_server", "catalogs[rucio].place_url")
    return {"place": True, "place_url": f"{XROOTD}{server}/{root}"}


def _no_copies(source: _Source, why: str) -> None:
    for key in ("rel_path_function", "destination_root_path", "destination_server", "transfer_proto"):
        source.note(key, why)


def _listen(source: _Source) -> str | None:
    """declad's page is open to everybody; ours is on loopback, behind a reverse proxy."""
    port = source.values.get("web_gui.port")
    if port is None:
        return None
    digits = port if isinstance(port, str) and re.fullmatch(r"[0-9]{1,5}", port) else None
    number = int(digits) if digits else port if isinstance(port, int) and not isinstance(port, bool) else 0
    if not 0 < number < 65536:
        source.note("web_gui.port", "not understood")
        return None
    source.carry("web_gui.port", "service.listen")
    source.note("web_gui.port", "on loopback only: a reverse proxy shows it to others")
    return f"127.0.0.1:{number}"


# ---- the text ----


def _written(buffer: dict[str, Any], streams: list[dict[str, Any]], catalogs: list[dict[str, Any]], listen: str | None) -> str:
    """The site file with comments that say what is to be looked at."""
    lines = [
        "# Made from a configuration of declad. Look through it, above all at the comments.",
        "site: from-declad                # choose a name: small letters, digits, dashes",
        "workspace: /var/lib/dune-prompt  # store, quarantine, scripts, secrets; on a local disk",
        "",
    ]
    if buffer["path"] == PLACEHOLDER:
        lines.append("# declad's file names no folder that could be the buffer: put it in.")
    lines += [
        "# Put a file `.buffer` into the buffer, once: a listing without it is an outage, never an empty buffer.",
        f"buffer: {_flow(buffer)}",
        "",
        "# The first stream that fits a file is the file's; more can be told apart by `where: {core.data_stream: …}`.",
        "# declad removed a file from the dropbox once it was declared. Here it stays until its stream says otherwise:",
        "# `release: {delete: true}` deletes it once a copy elsewhere has been verified by its checksum.",
        "streams:",
        *(f"  - {_flow(stream)}" for stream in streams),
        "",
    ]
    if catalogs[0]["kind"] == "embedded":
        lines.append("# Neither SAM nor MetaCat is declared to; metadata are kept in the embedded catalogue.")
    if any(entry["kind"] == "metacat" for entry in catalogs):
        lines.append("# MetaCat: `library` uses what `metacat auth login` left; with `auth: x509` or `token` the daemon logs in by itself.")
    lines += ["catalogs:", *(f"  - {_flow(entry)}" for entry in catalogs)]
    if listen is not None:
        lines += ["", f"service: {_flow({'listen': listen})}  # the dashboard; another port while declad still runs here"]
    return "\n".join(lines) + "\n"


def _flow(values: dict[str, Any]) -> str:
    """A mapping on one line."""
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=False).strip()
