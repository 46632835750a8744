"""Batch systems behind one small protocol: `protocol.py` says what a launcher does, one file each holds what differs."""

from __future__ import annotations

from campaign.launchers.background import Background
from campaign.launchers.local import LocalLauncher
from campaign.launchers.protocol import Launcher
from dune_prompt.settings.launchers import (
    HTCondorLauncherSettings,
    JobsubLauncherSettings,
    LauncherSettings,
    LocalLauncherSettings,
    PomsLauncherSettings,
)
from dune_prompt.settings.site import Site

__all__ = ["open_blocking", "open_launchers"]


def open_launchers(site: Site) -> dict[str, Launcher]:
    """The batch systems of a site by name, in order of preference. Remote ones work in threads, which begin when they are first used.

    Raises:
        ConfigError: one cannot be used as it is set up.
    """
    return {settings.kind: _open(settings) for settings in site.launchers}


def _open(settings: LauncherSettings) -> Launcher:
    if isinstance(settings, LocalLauncherSettings):
        return LocalLauncher()
    if isinstance(settings, PomsLauncherSettings):
        return _open_poms(settings)
    return Background(open_blocking(settings), poll_every=settings.poll_every, silent_after=settings.silent_after)


def open_blocking(settings: LauncherSettings) -> Launcher:
    """A batch system whose calls take as long as they take.

    Raises:
        ConfigError: it cannot be used as it is set up.
    """
    if isinstance(settings, HTCondorLauncherSettings):
        from campaign.launchers.htcondor import HTCondorLauncher

        return HTCondorLauncher(settings)
    if isinstance(settings, PomsLauncherSettings):
        return _open_poms(settings)
    if isinstance(settings, JobsubLauncherSettings):
        from campaign.launchers.jobsub import JobsubLauncher

        return JobsubLauncher(settings)
    return LocalLauncher()


def _open_poms(settings: PomsLauncherSettings) -> Launcher:
    from campaign.launchers.poms import PomsLauncher

    return PomsLauncher.open(settings)
