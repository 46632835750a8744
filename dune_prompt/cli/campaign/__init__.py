"""`dune-prompt campaign`: look at campaigns and act on them."""

from __future__ import annotations

import click

from dune_prompt.cli.campaign.bundle import bundle
from dune_prompt.cli.campaign.canary import canary
from dune_prompt.cli.campaign.definitions import definitions
from dune_prompt.cli.campaign.exclude import exclude, include, waive
from dune_prompt.cli.campaign.pause import pause, resume
from dune_prompt.cli.campaign.poms import poms
from dune_prompt.cli.campaign.probe import probe
from dune_prompt.cli.campaign.recall import recall
from dune_prompt.cli.campaign.reconcile import reconcile
from dune_prompt.cli.campaign.redo import redo
from dune_prompt.cli.campaign.render import render
from dune_prompt.cli.campaign.report import report
from dune_prompt.cli.campaign.retry import retry
from dune_prompt.cli.campaign.simulate import command as simulate
from dune_prompt.cli.campaign.status import status
from dune_prompt.cli.campaign.step import step
from dune_prompt.cli.campaign.upload import upload
from dune_prompt.cli.campaign.why import why


@click.group()
def command() -> None:
    """Look at campaigns and act on them."""


_LOOKING = (status, why, report)
_ACTING = (step, retry, redo, exclude, include, waive, pause, resume, canary, reconcile, recall, probe, bundle, render, definitions)
_POMS = (upload, poms)

for _part in (*_LOOKING, *_ACTING, *_POMS):
    command.add_command(_part)
command.add_command(simulate, "simulate")
