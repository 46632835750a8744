"""What jobs on other machines need: the bundle they unpack, their wrapper, and where they read and write."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from campaign import bundle
from campaign.definition import Campaign
from campaign.installation import ActiveCampaign, Installation
from campaign.launchers.protocol import Submission
from declare_daemon.outbox import ATTEMPTS
from declare_daemon.storage import path_below
from dune_prompt.settings.launchers import JobsubLauncherSettings, RemoteLauncherSettings

SUBMISSIONS = "submissions"


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of one batch system."""

    installation: Installation
    settings: RemoteLauncherSettings

    @property
    def slice_size(self) -> int:
        """Jobs of one submission at most."""
        return self.settings.slice

    @property
    def share_files(self) -> bool:
        """Workers see this machine's file systems: jobs read and write in place."""
        return self.settings.share_files

    def seen(self, campaign: Campaign, path: str) -> str:
        """A path at the place of the outputs, as workers see it; others as they are."""
        below = path_below(path, str(self.installation.place_of(campaign)))
        return path if below is None or self.share_files else f"{self.outputs_url(campaign).rstrip('/')}/{below}"

    def outputs_url(self, campaign: Campaign) -> str:
        """The folder outputs go to, as workers see it."""
        return campaign.outputs.worker_url or str(self.installation.place_of(campaign))

    def output_dir(self, campaign: Campaign, attempt: str) -> str:
        """The folder of one attempt's outputs, as workers see it."""
        return f"{self.outputs_url(campaign).rstrip('/')}/{ATTEMPTS}/{attempt}"

    def make_ready(self) -> None:
        """Build the bundles now: the first submission need not wait for them.

        Raises:
            ConfigError: one cannot be made.
        """
        if not self.share_files:
            for campaign in self.installation.campaigns.values():
                bundle.build(self.installation.site.workspace / "bundles", campaign.file)

    def equip(self, submission: Submission, campaign: ActiveCampaign) -> Submission:
        """The submission with all that its jobs need beside it: bundle, wrapper and, where jobs cannot be given files of their own,
        the assignments by index at the place of the outputs.

        Raises:
            ConfigError: the bundle cannot be made. OSError: a folder cannot be written.
        """
        submission.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if campaign.settings.outputs.place is None:
            # Ours to make. A place that is set up is a mount, maybe: jobs take it as it is, or fail.
            self.installation.place_of(campaign.settings).mkdir(parents=True, exist_ok=True)
        if self.share_files:
            return submission
        sites = self.settings.site or "" if isinstance(self.settings, JobsubLauncherSettings) else ""
        bundle.write_wrapper(submission.folder, campaign.file, sites=sites)
        tarball = bundle.build(self.installation.site.workspace / "bundles", campaign.file)
        assignments_url = None
        if isinstance(self.settings, JobsubLauncherSettings):
            below = f"{SUBMISSIONS}/{submission.id}"
            folder = self.installation.place_of(campaign.settings) / below
            _give_assignments(folder, submission)
            assignments_url = f"{self.outputs_url(campaign.settings).rstrip('/')}/{below}"
        return replace(submission, bundle=tarball, outputs_url=self.outputs_url(campaign.settings), assignments_url=assignments_url)


def _give_assignments(folder: Path, submission: Submission) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for index, job in enumerate(submission.jobs):
        # Two requests of one launch may be answered at once.
        draft = folder / f".{index}-{threading.get_ident()}.json"
        shutil.copyfile(job.assignment, draft)
        draft.chmod(0o600)
        draft.replace(folder / f"{index}.json")
