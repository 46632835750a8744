"""What a MetaCat server answers to each request, written after its `webserver/data_handler.py` (4.1).

The wheel has the layers below (database, query language, authentication), not these handlers. Order of the checks, status codes and
texts are the server's, so are its mistakes: a reader of the code below who finds one has probably found MetaCat's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from metacat import Version
from metacat.db import (
    DBDataset,
    DBFile,
    DBFileSet,
    DBNamedQuery,
    DBNamespace,
    DBParamCategory,
    DBUser,
    IntegrityError,
    MetaValidationError,
)
from metacat.mql import MQLError, MQLQuery
from metacat.util import ObjectSpec

from tests.servers.metacat_parts.authentication import Auth
from tests.servers.metacat_parts.messages import JSON, JSON_SEQUENCE, PLAIN, Answer, RefusedError, Request, crash

INVALID_METADATA = 488
NAME = re.compile(r"[a-z0-9_./-]+", re.IGNORECASE)
CHECKSUM_LENGTH = {"adler32": 8, "sha256": 64, "md5": 32}


def answer(request: Request, pool: Any, auth: Auth) -> Answer:
    """The answer to a request for data; a crash of the handler is an error 500."""
    handler = ENDPOINTS.get(request.endpoint)
    if handler is None:
        return Answer(404, "Not found", PLAIN)
    try:
        work = Data(request, pool, auth)
        return handler(work)
    except RefusedError as refused:
        return refused.answer
    except Exception:  # noqa: BLE001 - this is the server's own last resort
        return crash()


class Data:
    """One request for data."""

    def __init__(self, request: Request, pool: Any, auth: Auth) -> None:
        self.request, self.auth = request, auth
        # Kept until the request is over: the transactions below commit when they are forgotten, which must come before.
        self.db = pool.connect()
        self._may: dict[str, bool] = {}

    def body(self) -> Any:
        return json.loads(self.request.body)

    def user(self, refusal: int, text: str | None = None) -> Any:
        """The user who sends this; with none it ends with status `refusal`, which is not the same everywhere."""
        name, error = self.auth.user_of(self.request)
        user = None if name is None else DBUser.get(self.db, name)
        if user is None:
            raise RefusedError(refusal, text or (error if name is None else "user not found") or "")
        return user

    def may_write(self, namespace: str, user: Any) -> bool:
        """Whether the namespace is the user's. KeyError if there is none: some callers forget that."""
        if namespace not in self._may:
            found = DBNamespace.get(self.db, namespace)
            if found is None:
                raise KeyError(f"Namespace {namespace} does not exist")
            self._may[namespace] = found.owned_by_user(user) or user.is_admin()
        return self._may[namespace]

    def check_names(self, **names: str | None) -> None:
        for what, name in names.items():
            if name and not NAME.fullmatch(name):
                text = {"message": f"Invalid value for {what}: {name}", "code": "400 Bad Request", "title": "Bad Request"}
                raise RefusedError(400, json.dumps(text), JSON)

    # -- namespaces, datasets, categories ------------------------------------------------------------------------------

    def version(self) -> Answer:
        return Answer(200, Version, PLAIN)

    def namespace(self) -> Answer:
        name = self.request.args.get("name") or self.request.rest
        self.check_names(name=name)
        found = DBNamespace.get(self.db, name)
        return Answer(404, "Not found", PLAIN) if found is None else _json(found.to_jsonable())

    def namespaces(self) -> Answer:
        if self.request.body:
            found = DBNamespace.get_many(self.db, self.body())
        else:
            found = DBNamespace.list(self.db, owned_by_user=self.request.args.get("owner_user"))
        return _json([item.to_jsonable() for item in found])

    def categories(self) -> Answer:
        return _json([item.to_jsonable() for item in DBParamCategory.list(self.db)])

    def category(self) -> Answer:
        found = DBParamCategory.get(self.db, self.request.args.get("path") or self.request.rest)
        return _json(None if found is None else found.to_jsonable())

    def dataset(self) -> Answer:
        namespace, name = _split(self.request.args.get("dataset") or self.request.rest)
        self.check_names(namespace=namespace, name=name)
        found = DBDataset.get(self.db, namespace, name)
        if found is None:
            return Answer(404, "Dataset not found")
        return _json(found.to_jsonable() | {"file_count": found.nfiles(self.request.says("exact_file_count"))})

    def dataset_files(self) -> Answer:
        namespace, name = _split(self.request.args.get("dataset") or self.request.rest)
        found = DBDataset.get(self.db, namespace, name)
        if found is None:
            return Answer(404, "Dataset not found")
        with_metadata = self.request.says("with_metadata")
        files = found.list_files(with_metadata=with_metadata, include_retired_files=self.request.says("include_retired_files"))
        return _sequence(file.to_jsonable(with_metadata=with_metadata) for file in files)

    def create_dataset(self) -> Answer:
        user = self.user(401)
        params = self.body()
        namespace, name = params["namespace"], params["name"]
        self.check_names(namespace=namespace, name=name)
        owner = DBNamespace.get(self.db, namespace)
        if owner is None:
            return Answer(404, "Namespace not found")
        if not user.is_admin() and not owner.owned_by_user(user):
            return Answer(403, "Permission denied")
        if DBDataset.get(self.db, namespace, name) is not None:
            return Answer(409, "Already exists")
        dataset = DBDataset(
            self.db,
            namespace,
            name,
            frozen=params.get("frozen", False),
            monotonic=params.get("monotonic", False),
            creator=user.Username,
            description=params.get("description", ""),
            file_meta_requirements=params.get("file_meta_requirements"),
            metadata=params.get("metadata") or {},
        )
        dataset.create()
        return Answer(200, dataset.to_json(), JSON)

    # -- files ---------------------------------------------------------------------------------------------------------

    def files(self) -> Answer:
        specs = []
        for item in self.body():
            spec = ObjectSpec(item)
            self.check_names(namespace=spec.Namespace, name=spec.Name, fid=spec.FID)
            specs.append(spec.as_dict())
        found = list(DBFile.get_files(self.db, specs))
        wanted = {"with_metadata": self.request.says("with_metadata"), "with_provenance": self.request.says("with_provenance")}
        return _json([file.to_jsonable(**wanted) for file in found])

    def file(self) -> Answer:
        args = self.request.args
        self.check_names(namespace=args.get("namespace"), name=args.get("name"), fid=args.get("fid"))
        if args.get("fid"):
            found = DBFile.get(self.db, fid=args["fid"])
        else:
            found = DBFile.get(self.db, namespace=args["namespace"], name=args["name"])
        if found is None:
            return Answer(404, "File not found")
        wanted = {key: self.request.says(key, default) for key, default in _WITH.items()}
        return Answer(200, found.to_json(**wanted), JSON)

    def declare_files(self) -> Answer:
        user = self.user(401)
        dataset = self._dataset_to_declare_in(user)
        items = self.body() if self.request.body else []
        if not items:
            return Answer(400, "Empty file list")
        self._check_categories(items)
        self._check_checksums(items)
        errors: list[dict[str, Any]] = []
        files = [file for index, item in enumerate(items) if (file := self._file(index, item, dataset, user, errors)) is not None]
        if not errors:
            self._find_parents(files, errors)
        if errors:
            text = json.dumps({"message": "Invalid file data", "metadata_errors": errors})
            return Answer(INVALID_METADATA, text, JSON)
        if self.request.says("dry_run"):
            return _json([{"name": file.Name, "namespace": file.Namespace, "fid": file.FID} for file in files], status=202)
        with self.db.transaction() as transaction:
            try:
                created = DBFile.create_many(self.db, files, user.Username, transaction=transaction)
            except IntegrityError as error:
                transaction.rollback()
                there = [found.did() for found in DBFile.get_files(self.db, files)]
                message = "\n  ".join(["The following files already exist:", *there]) if there else f"Integrity error: {error}"
                return Answer(409, message)
            dataset.add_files(files, validate_meta=False, transaction=transaction)
        return _json([file.to_jsonable(with_metadata=True) for file in created])

    def _dataset_to_declare_in(self, user: Any) -> Any:
        dataset = self.request.args.get("dataset")
        if dataset is None:
            raise RefusedError(400, "Dataset not specified")
        namespace, name = _split(dataset)
        try:
            if not self.may_write(namespace, user):
                raise RefusedError(403, f"Permission to add files to dataset {dataset} denied")
        except KeyError:
            raise RefusedError(404, f"Namespace {namespace} does not exist") from None
        found = DBDataset.get(self.db, namespace, name)
        if found is None:
            raise RefusedError(400, f"Dataset {dataset} does not exist")
        return found

    def _check_categories(self, items: list[dict[str, Any]]) -> None:
        # A file without the key `metadata` ends here with an error 500.
        found = DBParamCategory.validate_metadata_bulk(self.db, [item["metadata"] for item in items])
        if found:
            text = "Metadata category validation errors"
            errors = [{"index": index, "message": text, "metadata_errors": reasons} for index, reasons in found]
            raise RefusedError(INVALID_METADATA, json.dumps({"metadata_errors": errors}), JSON)

    def _check_checksums(self, items: list[dict[str, Any]]) -> None:
        text = "Metadata checksum validation errors"
        found = [(index, _checksum_errors(item.get("checksums") or {})) for index, item in enumerate(items)]
        errors = [{"index": index, "message": text, "metadata_errors": reasons} for index, reasons in found if reasons]
        if errors:
            raise RefusedError(INVALID_METADATA, json.dumps({"metadata_errors": errors}), JSON)

    def _file(self, index: int, item: dict[str, Any], dataset: Any, user: Any, errors: list[dict[str, Any]]) -> Any:
        """A file to create; None if it cannot be, with the reason in `errors`."""
        namespace, name, fid = item.get("namespace"), item.get("name"), item.get("fid")
        self.check_names(namespace=namespace, name=name, fid=fid)
        if item.get("size") is None:
            errors.append({"message": "Missing file size", "fid": fid, "index": index})
            return None
        if name is None and item.get("did") is not None:
            namespace, name = _split(item["did"])
        if not name or not namespace:
            errors.append({"message": "Missing name and auto_name" if not name else "Missing namespace", "index": index, "fid": fid})
            return None
        try:
            if not self.may_write(namespace, user):
                errors.append({"index": index, "fid": fid, "message": f"Permission to declare files in namespace {namespace} denied"})
                return None
        except KeyError:
            errors.append({"index": index, "fid": fid, "message": f"Namespace {namespace} does not exist"})
            return None
        metadata = item.get("metadata", {})
        keys = [key for key in metadata if "." not in key]
        errors += [{"index": index, "message": f"Metadata parameter without a category: {key}"} for key in keys]
        if reasons := dataset.validate_file_metadata(metadata):
            errors.append({"index": index, "message": "Dataset metadata validation errors", "metadata_errors": reasons})
            return None
        file = DBFile(self.db, namespace=namespace, name=name, fid=fid, metadata=metadata, size=item["size"], creator=user.Username)
        file.Checksums = item.get("checksums")
        file.Parents = [parent["fid"] if "fid" in parent else _parent_name(parent) for parent in item.get("parents") or []]
        return file

    def _find_parents(self, files: list[Any], errors: list[dict[str, Any]]) -> None:
        names = {parent for file in files for parent in file.Parents if isinstance(parent, tuple)}
        if not names:
            return
        found = DBFile.get_files(self.db, [{"namespace": namespace, "name": name} for namespace, name in names])
        fids = {(file.Namespace, file.Name): file.FID for file in found}
        for index, file in enumerate(files):
            unknown = next((parent for parent in file.Parents if isinstance(parent, tuple) and parent not in fids), None)
            if unknown is not None:
                errors.append({"index": index, "message": "Can not get file id for parent: {}:{}".format(*unknown)})
                continue
            file.Parents = [fids[parent] if isinstance(parent, tuple) else parent for parent in file.Parents]

    def add_files(self) -> Answer:
        user = self.user(403, "Client authentication failed")
        params = self.body()
        items, query = params.get("file_list"), params.get("query")
        if not items and not query:
            return Answer(400, "No files to add", PLAIN)
        dataset = self.request.args.get("dataset", "")
        namespace, name = _split(dataset)
        self.check_names(dataset_namespace=namespace, dataset_name=name)
        if not self.may_write(namespace, user):
            return Answer(403, f"Permission to add files dataset {dataset} denied", PLAIN)
        found = DBDataset.get(self.db, namespace, name)
        if found is None:
            return Answer(404, "Dataset not found", PLAIN)
        if found.Frozen:
            return Answer(403, "Dataset is frozen", PLAIN)
        if query:
            files = MQLQuery.parse(query).run(self.db, filters={}, with_meta=False, with_provenance=False)
        else:
            files = [self._existing(item, params.get("namespace")) for item in items]
        try:
            with self.db.transaction() as transaction:
                added = found.add_files(files, transaction=transaction)
                # Counted a second time, and from a number that was read before: the file count goes wrong.
                found.FileCount += added
                found.save(transaction=transaction)
        except MetaValidationError as error:
            return Answer(400, error.as_json(), JSON)
        return _json({"files_added": added})

    def _existing(self, item: dict[str, Any], namespace: str | None) -> Any:
        spec = ObjectSpec(item, namespace=namespace)
        self.check_names(namespace=spec.Namespace, name=spec.Name, fid=spec.FID)
        return DBFile(self.db, fid=spec.FID) if spec.FID else DBFile(self.db, spec.Namespace, spec.Name)

    def _one_file(self, data: dict[str, Any], user: Any, *, with_metadata: bool = False) -> Any:
        spec = ObjectSpec.from_dict(data)
        if spec.FID:
            found = DBFile.get(self.db, fid=spec.FID, with_metadata=with_metadata)
        else:
            found = DBFile.get(self.db, namespace=spec.Namespace, name=spec.Name, with_metadata=with_metadata)
        if found is None:
            raise RefusedError(404, "File not found")
        if not self.may_write(found.Namespace, user):
            raise RefusedError(403, f"Permission to manage files in namespace {found.Namespace} denied")
        return found

    def retire_file(self) -> Answer:
        user = self.user(403, "Authentication required")
        data = self.body()
        found = self._one_file(data, user)
        if data["retire"] != found.Retired:
            found.set_retire(data["retire"], user.Username)
        return Answer(200, found.to_json(), JSON)

    def update_file(self) -> Answer:
        user = self.user(403, "Authentication required")
        data = self.body()
        found = self._one_file(data, user, with_metadata=True)
        adding = data.get("mode", "add-update") == "add-update"
        if "metadata" in data:
            found.Metadata = (found.Metadata if adding else {}) | data["metadata"]
        if "checksums" in data:
            if errors := _checksum_errors(data["checksums"]):
                text = json.dumps({"message": "Metadata validation errors", "metadata_errors": errors})
                return Answer(INVALID_METADATA, text, JSON)
            found.Checksums = (found.Checksums or {} if adding else {}) | data["checksums"]
        found.Size = data.get("size", found.Size or 0)
        found.update(user)
        return Answer(200, found.to_json(with_metadata=True, with_provenance=True), JSON)

    def update_file_meta(self) -> Answer:
        user = self.user(403, "Authentication required")
        data = self.body()
        specs = [ObjectSpec.from_dict(item) for item in data["files"]]
        for spec in specs:
            self.check_names(namespace=spec.Namespace, name=spec.Name, fid=spec.FID)
        sets = [DBFileSet.from_id_list(self.db, [spec.FID for spec in specs if spec.FID])]
        if names := [{"namespace": spec.Namespace, "name": spec.Name} for spec in specs if not spec.FID]:
            sets.append(DBFileSet.from_namespace_name_specs(self.db, names))
        files = list(DBFileSet.union(self.db, sets))
        for file in files:
            if not self.may_write(file.Namespace, user):
                return Answer(403, f"Permission to update files in namespace {file.Namespace} denied")
            file.Metadata = (file.Metadata if data["mode"] == "update" else {}) | data["metadata"]
        DBFile.update_many(self.db, files)
        return _json([{"name": f.Name, "namespace": f.Namespace, "fid": f.FID, "metadata": f.Metadata} for f in files])

    def query(self) -> Answer:
        args = self.request.args
        summary = args.get("summary")
        wanted = {"with_meta": self.request.says("with_meta"), "with_provenance": self.request.says("with_provenance")}
        if not self.request.body:
            return Answer(200, "[]", JSON)
        try:
            query = MQLQuery.parse(
                self.request.body.decode(),
                db=self.db,
                default_namespace=args.get("namespace") or None,
                include_retired_files=self.request.says("include_retired_files"),
            )
            results = query.run(self.db, filters={}, **wanted)
        except (AssertionError, ValueError, MQLError) as error:
            # Only MQL's own errors have a `Message`: the others end as an error 500.
            return Answer(400, f"{type(error).__name__}: {error.Message}")  # type: ignore[union-attr]
        if query.Type != "file":
            return _sequence(item.to_jsonable() for item in results)
        if summary == "count":
            count, size = results.counts()
            return _json({"count": count, "total_size": size})
        shown = {"with_metadata": wanted["with_meta"], "with_provenance": wanted["with_provenance"]}
        return _sequence(file.to_jsonable(**shown) for file in results)

    # -- named queries -------------------------------------------------------------------------------------------------

    def named_query(self) -> Answer:
        found = DBNamedQuery.get(self.db, self.request.args.get("namespace"), self.request.args.get("name"))
        return Answer(404, "Query not found") if found is None else Answer(200, found.to_json(), JSON)

    def create_named_query(self) -> Answer:
        user = self.user(401, "Authentication required")
        data = self.body()
        namespace, name = data["namespace"], data["name"]
        try:
            if not self.may_write(namespace, user):
                return Answer(403, "Permission denied")
        except KeyError:
            return Answer(404, f"Namespace {namespace} does not exist")
        found = DBNamedQuery.get(self.db, namespace, name)
        if found is not None and not self.request.says("update"):
            return Answer(409, "Query already exists")
        query = found or DBNamedQuery(self.db, namespace, name, data["source"], data.get("parameters", []))
        query.Source, query.Parameters, query.Creator = data["source"], data.get("parameters", []), user.Username
        if found is None:
            query.create()
        else:
            query.CreatedTimestamp = datetime.now()  # noqa: DTZ005 - as the server does
            query.save()
        return Answer(200, query.to_json(), JSON)


_WITH = {"with_metadata": "yes", "with_provenance": "yes", "with_datasets": "no"}

_NAMES = """version namespace namespaces categories category dataset dataset_files create_dataset
    files file declare_files add_files retire_file update_file update_file_meta query
    named_query create_named_query"""

ENDPOINTS: dict[str, Callable[[Data], Answer]] = {name: getattr(Data, name) for name in _NAMES.split()}


def _json(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data), JSON)


def _sequence(items: Iterable[Any]) -> Answer:
    return Answer(200, _pieces(items), JSON_SEQUENCE)


def _pieces(items: Iterable[Any], size: int = 100_000) -> Iterator[str]:
    piece: list[str] = []
    length = 0
    for item in items:
        piece.append(f"\x1e{json.dumps(item)}\n")
        length += len(piece[-1])
        if length >= size:
            yield "".join(piece)
            piece, length = [], 0
    if piece:
        yield "".join(piece)


def _split(did: str) -> tuple[str, str]:
    namespace, _, name = did.partition(":")
    return namespace, name


def _parent_name(parent: dict[str, Any]) -> tuple[str, str]:
    return _split(parent["did"]) if "did" in parent else (parent["namespace"], parent["name"])


def _checksum_errors(checksums: dict[str, str]) -> list[dict[str, str]]:
    errors = []
    for kind, value in checksums.items():
        length = CHECKSUM_LENGTH.get(kind.lower())
        if length is not None and len(value) != length:
            errors.append({"name": f"checksum {kind}", "reason": f"value is wrong length {len(value)} should be {length}"})
        errors += [{"name": f"checksum {kind}", "reason": f"contains invalid digit {c}"} for c in value if c not in "0123456789abcdef"]
    return errors
