"""Questions to SAM, in its language of dimensions: which files are in a dataset, and which of them still lack a child.

The grammar is that of the server's own parser (fermitools/metacat, `conversion_mwm/sam_parser/parser.py`): `minus` binds last, a value
with other characters than letters, digits and `_.%?+-` is quoted, and only ASCII is understood. Queries leave out files without location
unless they ask for `availability anylocation`, and in a subquery that has to be said again.
"""

from __future__ import annotations

import re

from declare_daemon.catalogs.sam_metadata import DATASET, parameter
from dune_prompt.errors import ConfigError
from dune_prompt.records import MadeBy, split_did

ANYWHERE = "with availability anylocation"

# `<run type>_<run>`: the name of a run's dataset, as declad and we make it. The run may be left open.
_OF_RUN = re.compile(r"(?P<run_type>[A-Za-z0-9-]+)_(?P<run>\d+|\*)")


def quoted(value: str) -> str:
    """A value in a query. There is no way to write a quote within quotes of the same kind."""
    if "'" in value or not value.isascii():
        raise ConfigError(f"SAM: {value!r} cannot be asked for")
    return f"'{value}'"


def in_dataset(dataset: str) -> str:
    """The files that were declared into `dataset`; SAM keeps it as a parameter of the file."""
    return f"{DATASET.lower()} {quoted(dataset)}"


def selection(dataset: str) -> str:
    """The files of a dataset whoever declared them: by our parameter and, for a run's raw files, by run type and run.

    With a `*` in the dataset's name it is all datasets that fit.
    """
    ours = in_dataset(dataset) if "*" not in dataset else f"{DATASET.lower()} like {quoted(dataset.replace('*', '%'))}"
    match = _OF_RUN.fullmatch(split_did(dataset)[1])
    if match is None:
        return ours
    run = "" if match["run"] == "*" else f" and run_number {int(match['run'])}"
    return f"( {ours} or ( data_tier raw and run_type {quoted(match['run_type'])}{run} ) )"


def made(made_by: MadeBy) -> str:
    """The files made by (campaign, version, stage)."""
    campaign = parameter("dune.campaign").lower()
    return f"{campaign} {quoted(made_by.campaign)} and version {quoted(made_by.version)} and application {quoted(made_by.stage)}"


def undone(files: str, made_by: MadeBy) -> str:
    """Those of `files` (a query) that have no child made so: a query that drains by itself as children are declared."""
    return f"{files} minus isparentof:( {made(made_by)} {ANYWHERE} )"
