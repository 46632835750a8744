"""The SAM definition POMS gives to the stages that depend on a launch: it believes that the launch has made it."""

from __future__ import annotations

from campaign.definition import FINAL_STAGE
from campaign.installation import Installation
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.launches import Launch
from campaign.poms.definitions import depends_definition, sam_of
from declare_daemon.catalogs import open_catalogs
from dune_prompt.records import MadeBy, split_did

# Which outputs the stages after each one go on with: those that were made last.
_MADE_BY = {"nf_sp": "nf_sp", "declare": "nf_sp"}


def define(installation: Installation, launch: Launch) -> str | None:
    """Make the definition for a launch; its name, None where the site has no SAM. Repeating it changes nothing.

    Raises:
        TransientError: SAM is away. ConflictError: the name is taken by something else. ConfigError: SAM takes no such definition.
    """
    if not launch.task_id or not any(item.kind == "sam" for item in installation.site.catalogs):
        return None
    with installation.store.read() as connection:
        attempts = ledger_attempts.of_slice(connection, launch.slice_id)
        tasks = ledger_tasks.by_ids(connection, {attempt.task_id for attempt in attempts})
    settings = installation.campaigns[launch.campaign_id].settings
    made_by = MadeBy(settings.campaign, settings.version, _MADE_BY.get(launch.step, FINAL_STAGE))
    definition = depends_definition(launch.task_id, made_by, [split_did(task.input_did)[1] for task in tasks.values()])
    catalogs = open_catalogs(installation.site)
    try:
        sam = sam_of(catalogs)
        assert sam is not None  # noqa: S101 - the site lists it
        sam.definitions.define(definition.name, definition.dimensions, replace=True)
    finally:
        catalogs.close()
    return definition.name
