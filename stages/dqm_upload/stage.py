"""`dqm_upload`: uploads the data-quality record and its pictures to all targets of the campaign.

Each target acknowledges for itself, and an upload can be repeated at any time: after a failure the stage is run again as a whole,
and targets that have everything already find that out.

Settings in the campaign file: `targets`, a list of `{kind: own}` and `{kind: directory, path: …}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dune_prompt.errors import ConfigError, DataError, DunePromptError, TransientError
from stages.dqm_upload import directory
from stages.dqm_upload.upload import Target, read_upload
from stages.stage import StageContext, StageResult

KINDS = ("own", "directory")
# The class of the first error found among all decides: what another try can mend is tried again first.
_SEVERITY = (TransientError, ConfigError, DataError)


def run(context: StageContext) -> StageResult:
    """Upload to every target, whether or not another one failed; the metrics hold the outcome of each.

    Raises:
        TransientError: a target did not answer or has no room now.
        ConfigError: a target is described wrongly, or refuses who we are.
        DataError: a target refuses the record.
    """
    targets = [_target(number, target, context) for number, target in enumerate(context.settings.get("targets") or [])]
    if not targets:
        raise ConfigError("stages.dqm_upload.targets is empty; give at least one of " + ", ".join(KINDS) + " (by hand: --dqm-dir)")
    upload = read_upload(context.file_of("evaluate", "_metrics.json"), context.files["evaluate"])
    outcomes: dict[str, str] = {}
    errors: list[DunePromptError] = []
    for name, store in targets:
        try:
            outcomes[name] = store(upload)
        except DunePromptError as error:
            outcomes[name] = f"failed: {error}"
            errors.append(error)
    for kind in _SEVERITY:
        if any(isinstance(error, kind) for error in errors):
            raise kind("; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items()))
    sizes = [len(upload.record), *(path.stat().st_size for path in upload.pictures.values())]
    return StageResult(metrics={"targets": outcomes, "n_pictures": len(upload.pictures), "upload_bytes": sum(sizes)})


def _target(number: int, settings: Mapping[str, Any], context: StageContext) -> tuple[str, Target]:
    """A target's name for messages, and its function."""
    kind = settings.get("kind")
    where = f"stages.dqm_upload.targets[{number}]"
    if kind == "directory":
        path = str(settings.get("path") or "")
        if not Path(path).is_absolute():
            raise ConfigError(f"{where}.path {path!r}: an absolute path is needed, jobs start in folders of their own")
        return f"directory {path}", partial(directory.store, Path(path))
    if kind == "own":
        if context.service_url is None or context.token is None:
            raise ConfigError(f"{where}: 'own' needs the engine's service and its token; by hand, use a directory")
        from stages.dqm_upload.own import Dashboard

        return "own", Dashboard(context.service_url, context.token).store
    raise ConfigError(f"{where}.kind {kind!r}: this version has {' and '.join(KINDS)}")
