"""What the double of SAM keeps, and what it answers: files, parameters, parents, locations and definitions in one SQLite database.

Refusals and their texts are those seen of SAM (sam-web-client's exceptions, SBND's page on SAM).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.servers.samweb_parts.dims import Combination, Definition, Dimension, DimensionError, Node, Query, Relative, parse

SCHEMA = """
CREATE TABLE IF NOT EXISTS file (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, retired_date TEXT, form TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS file_name ON file (name) WHERE retired_date IS NULL;
CREATE INDEX IF NOT EXISTS any_name ON file (name);
CREATE TABLE IF NOT EXISTS value (file_id INTEGER, name TEXT, value, PRIMARY KEY (file_id, name, value)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS of_value ON value (name, value, file_id);
CREATE TABLE IF NOT EXISTS parent (parent_id INTEGER, child_id INTEGER, PRIMARY KEY (parent_id, child_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS of_child ON parent (child_id);
CREATE TABLE IF NOT EXISTS location (file_id INTEGER, location TEXT, PRIMARY KEY (file_id, location)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS definition (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, content TEXT NOT NULL);
"""

FIELDS: dict[str, tuple[type, ...]] = {
    "application": (dict,),
    "checksum": (list,),
    "content_status": (str,),
    "data_stream": (str,),
    "data_tier": (str,),
    "end_time": (str,),
    "event_count": (int,),
    "file_format": (str,),
    "file_name": (str,),
    "file_size": (int,),
    "file_type": (str,),
    "first_event": (int,),
    "group": (str,),
    "last_event": (int,),
    "parents": (list,),
    "runs": (list,),
    "start_time": (str,),
    "user": (str,),
}
NEEDED = ("file_name", "file_type", "file_format", "file_size")

DATA_TIERS = frozenset(
    {"raw", "trigprim", "binary-raw", "decoded-raw", "full-reconstructed", "hit-reconstructed", "root-tuple", "sp", "metrics"}
)

# Fields that queries know by another name.
DIMENSIONS = {"content_status": "file_content_status", "first_event": "first_event_number", "last_event": "last_event_number"}


class Refused(Exception):  # noqa: N818 - the client is wrong, not the server
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class Records:
    """The state of the server. `data_tiers` and `parameters` (lower case, None: all) are those its administrators have made.

    `retired_names_are_free`: a retired file is no longer shown and its name can be declared again. SAM's users report both that and that
    the name stays reserved.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing that it wrote; only a machine without power would.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCHEMA)
        self.data_tiers = set(DATA_TIERS)
        self.parameters: set[str] | None = None
        self.retired_names_are_free = False

    def close(self) -> None:
        self._connection.close()

    # -- files ---------------------------------------------------------------------------------------------------------

    def declare(self, form: Any) -> int:
        parents = self.validate(form)
        name = form["file_name"]
        if self._id(name) is not None:
            raise Refused(409, "FileAlreadyExists", f"File with name '{name}' already exists")
        self._connection.execute("BEGIN IMMEDIATE")
        kept = {key: value for key, value in form.items() if key != "parents"}
        cursor = self._connection.execute("INSERT INTO file (name, form) VALUES (?, ?)", (name, json.dumps(kept)))
        file_id = int(cursor.lastrowid or 0)
        self._connection.executemany("INSERT INTO parent VALUES (?, ?)", [(parent, file_id) for parent in parents])
        self._connection.executemany("INSERT OR IGNORE INTO value VALUES (?, ?, ?)", [(file_id, *pair) for pair in _values(kept)])
        self._connection.execute("COMMIT")
        return file_id

    def validate(self, form: Any, *, whole: bool = True) -> list[int]:
        """The ids of the parents, if the metadata are such as SAM takes."""
        if not isinstance(form, dict):
            raise Refused(400, "InvalidMetadata", "Metadata must be an object")
        if whole and (missing := next((key for key in NEEDED if key not in form), None)):
            raise Refused(400, "InvalidMetadata", f"Missing {missing}")
        for key, value in form.items():
            if key in FIELDS:
                if not isinstance(value, FIELDS[key]) or isinstance(value, bool):
                    raise Refused(400, "InvalidMetadata", f"Invalid value for {key}: {value!r}")
            elif "." not in key:
                raise Refused(400, "InvalidMetadata", f"Unknown metadata field '{key}'")
            elif self.parameters is not None and key.lower() not in self.parameters:
                raise Refused(400, "InvalidMetadata", f"Unknown parameter '{key}'")
            elif not isinstance(value, str | int | float) or isinstance(value, bool):
                raise Refused(400, "InvalidMetadata", f"Invalid value for parameter {key}: must be a string or a number")
        if (tier := form.get("data_tier")) is not None and tier not in self.data_tiers:
            raise Refused(400, "InvalidMetadata", f"Unknown data tier '{tier}'")
        for run in form.get("runs", []):
            if not (
                isinstance(run, list) and len(run) == 3 and isinstance(run[0], int) and isinstance(run[1], int) and isinstance(run[2], str)
            ):
                raise Refused(400, "InvalidMetadata", f"Invalid value for runs: {run!r}")
        for key in ("start_time", "end_time"):
            try:
                datetime.fromisoformat(form.get(key, "2000-01-01"))
            except ValueError:
                raise Refused(400, "InvalidMetadata", f"Invalid value for {key}: {form[key]!r}") from None
        if (application := form.get("application")) is not None and application.keys() != {"family", "name", "version"}:
            raise Refused(400, "InvalidMetadata", "application needs family, name and version")
        for checksum in form.get("checksum", []):
            if ":" not in str(checksum):
                raise Refused(400, "InvalidMetadata", f"Invalid value for checksum: {checksum!r}")
        parents = []
        for parent in form.get("parents", []):
            parent_id = self._id(str(parent.get("file_name")))
            if parent_id is None:
                raise Refused(400, "InvalidMetadata", f"Parent file '{parent.get('file_name')}' not found")
            parents.append(parent_id)
        return parents

    def modify(self, changes: Any) -> int:
        """Change files, all or none."""
        if not isinstance(changes, list):
            raise Refused(400, "InvalidMetadata", "Metadata must be a list")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                file_id = self.id_of(change["file_name"])
                self.validate(change, whole=False)
                (text,) = self._connection.execute("SELECT form FROM file WHERE id = ?", (file_id,)).fetchone()
                form = json.loads(text) | change
                self._connection.execute("UPDATE file SET form = ? WHERE id = ?", (json.dumps(form), file_id))
                self._connection.execute("DELETE FROM value WHERE file_id = ?", (file_id,))
                self._connection.executemany("INSERT OR IGNORE INTO value VALUES (?, ?, ?)", [(file_id, *pair) for pair in _values(form)])
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return len(changes)

    def metadata(self, names: Sequence[str], ids: Sequence[int] = (), *, locations: bool = False) -> list[dict[str, Any]]:
        found = [self.form_of(file_id, locations=locations) for name in names if (file_id := self._id(name)) is not None]
        return found + [self.form_of(file_id, locations=locations) for file_id in ids]

    def form_of(self, file_id: int, *, locations: bool = False) -> dict[str, Any]:
        row = self._connection.execute("SELECT form, retired_date FROM file WHERE id = ?", (file_id,)).fetchone()
        if row is None:
            raise Refused(404, "FileNotFound", f"File with id {file_id} not found")
        form: dict[str, Any] = {**json.loads(row[0]), "file_id": file_id, "create_date": "2026-01-01T00:00:00+00:00", "user": "dunepro"}
        if row[1]:
            form["retired_date"] = row[1]
        for key, here, there in (("parents", "child_id", "parent_id"), ("children", "parent_id", "child_id")):
            query = f"SELECT id, name FROM parent JOIN file ON id = {there} WHERE {here} = ? ORDER BY name"
            if relatives := self._connection.execute(query, (file_id,)).fetchall():
                form[key] = [{"file_name": name, "file_id": relative} for relative, name in relatives]
        if locations:
            form["locations"] = self.locations_of(file_id)
        return form

    def id_of(self, name: str) -> int:
        if (file_id := self._id(name)) is None:
            raise Refused(404, "FileNotFound", f"File '{name}' not found")
        return file_id

    def _id(self, name: str) -> int | None:
        living = " AND retired_date IS NULL" if self.retired_names_are_free else ""
        row = self._connection.execute(f"SELECT id FROM file WHERE name = ?{living} ORDER BY id DESC", (name,)).fetchone()
        return None if row is None else int(row[0])

    def retire(self, file_id: int) -> None:
        self._connection.execute("UPDATE file SET retired_date = ? WHERE id = ?", (datetime.now(UTC).isoformat(), file_id))

    def change_locations(self, file_id: int, add: Iterable[str], remove: Iterable[str]) -> None:
        for location in add:
            if ":/" not in location:
                raise Refused(400, "InvalidLocation", f"Invalid location '{location}'")
            self._connection.execute("INSERT OR IGNORE INTO location VALUES (?, ?)", (file_id, location))
        for location in remove:
            self._connection.execute("DELETE FROM location WHERE (file_id, location) = (?, ?)", (file_id, location))

    def locations_of(self, file_id: int) -> list[dict[str, str]]:
        """A tape location says what state it is in, as SAM's do."""
        rows = self._connection.execute("SELECT location FROM location WHERE file_id = ? ORDER BY location", (file_id,))
        tape = "(nearline)"
        return [
            {"location": f"{location}{tape if location.startswith('enstore:') else ''}", "full_path": location, "location_type": "disk"}
            for (location,) in rows
        ]

    # -- queries -------------------------------------------------------------------------------------------------------

    def define(self, name: str, dims: str, group: str, *, user: str, description: str | None) -> dict[str, Any]:
        """Give a query a name. Nothing ever changes the query again."""
        _parsed(dims)
        content = {"create_time": datetime.now(UTC).isoformat(), "username": user, "group": group, "dimensions": dims}
        content |= {"description": description} if description else {}
        try:
            self._connection.execute("INSERT INTO definition (name, content) VALUES (?, ?)", (name, json.dumps(content)))
        except sqlite3.IntegrityError:
            raise Refused(409, "DefinitionExists", f"Definition '{name}' already exists") from None
        return self.definition(name)

    def definition(self, name: str) -> dict[str, Any]:
        row = self._connection.execute("SELECT id, content FROM definition WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Refused(404, "DefinitionNotFound", f"Definition '{name}' not found")
        return {"defname": name, "defid": row[0], **json.loads(row[1])}

    def modify_definition(self, name: str, *, new_name: str | None = None, description: str | None = None) -> None:
        """Change name or description: all there is to change."""
        content = {key: value for key, value in self.definition(name).items() if key not in ("defname", "defid")}
        content |= {"description": description} if description else {}
        try:
            change = "UPDATE definition SET name = ?, content = ? WHERE name = ?"
            self._connection.execute(change, (new_name or name, json.dumps(content), name))
        except sqlite3.IntegrityError:
            raise Refused(409, "DefinitionExists", f"Definition '{new_name}' already exists") from None

    def find(self, dims: str) -> list[tuple[int, str]]:
        """Ids and names of the files a query finds, oldest first."""
        ids = self._query(_parsed(dims))
        return [(file_id, self._connection.execute("SELECT name FROM file WHERE id = ?", (file_id,)).fetchone()[0]) for file_id in ids]

    def _query(self, query: Query) -> list[int]:
        found = self._find(query.node)
        if not query.anywhere:
            found &= self._set("SELECT file_id FROM location")
        return _slice(found, query)

    def _find(self, node: Node) -> set[int]:
        match node:
            case Query():
                return set(self._query(node))
            case Definition(name):
                # Where the files are is the business of the query that names it.
                named = _parsed(self.definition(name)["dimensions"])
                return set(_slice(self._find(named.node), named))
            case Relative(relation, query):
                ids = json.dumps(self._query(query))
                here, there = ("parent_id", "child_id") if relation == "isparentof" else ("child_id", "parent_id")
                return self._set(f"SELECT {here} FROM parent WHERE {there} IN (SELECT value FROM json_each(?))", ids) & self._living()
            case Combination(op, parts):
                first, *others = (self._find(part) for part in parts)
                if op == "not":
                    return self._living() - first
                for other in others:
                    first = {"and": first & other, "intersect": first & other, "minus": first - other}.get(op, first | other)
                return first
            case Dimension():
                return self._dimension(node) & self._living()

    def _dimension(self, dimension: Dimension) -> set[int]:
        name, op, values = dimension.name, dimension.op, dimension.values
        if name == "file_name" and op in ("=", "in"):
            return self._set("SELECT id FROM file WHERE name IN (SELECT value FROM json_each(?))", json.dumps(values))
        known = self.parameters is None or "." not in name or name in self.parameters
        if not known:
            raise Refused(400, "DimensionError", f"Unknown dimension '{name}'")
        numbers = [_number(value) for value in values]
        if op in ("=", "!=", "in", "not in"):
            either = json.dumps([*values, *(number for number in numbers if number is not None)])
            found = self._set("SELECT file_id FROM value WHERE name = ? AND value IN (SELECT value FROM json_each(?))", name, either)
            return self._living() - found if op.startswith(("!", "not")) else found
        if op.endswith("like"):
            found = self._set("SELECT file_id FROM value WHERE name = ? AND value LIKE ?", name, values[0])
            return self._living() - found if op.startswith("not") else found
        low = numbers[0] if numbers[0] is not None else values[0]
        if op == "range":
            high = numbers[1] if numbers[1] is not None else values[1]
            return self._set("SELECT file_id FROM value WHERE name = ? AND value BETWEEN ? AND ?", name, low, high)
        # A text is greater than any number to SQLite.
        alike = "(typeof(value) = 'text') = (typeof(?) = 'text')"
        return self._set(f"SELECT file_id FROM value WHERE name = ? AND value {op} ? AND {alike}", name, low, low)

    def _living(self) -> set[int]:
        return self._set("SELECT id FROM file WHERE retired_date IS NULL")

    def _set(self, query: str, *values: Any) -> set[int]:
        return {row[0] for row in self._connection.execute(query, values)}


def _parsed(dims: str) -> Query:
    try:
        return parse(dims)
    except DimensionError as error:
        raise Refused(400, "DimensionError", str(error)) from None


def _slice(found: Iterable[int], query: Query) -> list[int]:
    ids = sorted(found)[query.offset :: query.stride]
    return ids[: query.limit] if query.limit is not None else ids


def _values(form: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """What queries can ask a file for: (dimension in small letters, value)."""
    for key, value in form.items():
        if key == "runs":
            for run, subrun, run_type in value:
                yield from (("run_number", run), ("run_number", f"{run}.{subrun:04d}"), ("run_type", run_type))
        elif key == "application":
            yield from (
                ("family", value["family"]),
                ("application", value["name"]),
                ("appl_name", value["name"]),
                ("version", value["version"]),
            )
        elif key == "checksum":
            yield from (("checksum", text) for text in value)
        elif key != "parents":
            yield DIMENSIONS.get(key, key).lower(), value


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None
