"""The target `directory`: a tree of folders that people and web servers look into."""

from __future__ import annotations

from pathlib import Path

from dune_prompt.errors import TransientError
from stages.dqm_upload.upload import Upload

RECORD = "record.json"


def store(root: Path, upload: Upload) -> str:
    """Put the upload into `<root>/<campaign>/<version>/<run>/<raw stem>/`; the record comes last, so with it all is there.

    Files that are there with the same content are left alone. Returns `stored` or `there already`.

    Raises:
        TransientError: the file system does not take it.
    """
    folder = root / upload.campaign / upload.version / f"{upload.run:06d}" / upload.raw_stem
    try:
        folder.mkdir(parents=True, exist_ok=True)
        changed = [_put(folder / name, path.read_bytes()) for name, path in upload.pictures.items()]
        changed.append(_put(folder / RECORD, upload.record))
    except OSError as error:
        raise TransientError(f"{error.filename or folder}: {error.strerror or error}") from None
    return "stored" if any(changed) else "there already"


def _put(path: Path, content: bytes) -> bool:
    """Write `content` in one step, unless it is there; whether it was written."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return True
