"""The batch systems of the site file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, HttpUrl, field_validator

from dune_prompt.settings.paths import FilePath
from dune_prompt.settings.units import DurationS
from dune_prompt.settings.yaml_file import Strict


class LocalLauncherSettings(Strict):
    """Jobs as processes of this machine."""

    kind: Literal["local"] = Field(description="which batch system")


class RemoteLauncherSettings(Strict):
    """What all batch systems on other machines have in common."""

    out_after: int = Field(3, ge=1, description="submissions refused in a row until the next launcher takes over")
    silent_after: DurationS = Field(300.0, gt=0, description="time without any answer until the next launcher takes over")
    poll_every: DurationS = Field(10.0, gt=0, description="time between two looks at the queue")
    lost_after: DurationS = Field(1800.0, gt=0, description="a job that sends no heartbeat and is not in the queue is lost after this time")
    slice: int = Field(200, ge=1, le=10_000, description="jobs of one submission at most")
    share_files: bool = Field(False, description="workers see this machine's file systems: no bundle, no copies")
    command_path: FilePath | None = Field(None, description="folder of the batch system's commands; default: the PATH")


class HTCondorLauncherSettings(RemoteLauncherSettings):
    """An HTCondor pool that takes submissions from this machine."""

    kind: Literal["htcondor"] = Field(description="which batch system")
    collector: str | None = Field(None, description="address of the pool's collector; default: that of the condor configuration")
    schedd: str | None = Field(None, description="name of the queue (schedd); default: the local one")
    config: FilePath | None = Field(None, description="condor configuration file (CONDOR_CONFIG)")
    requirements: str | None = Field(None, description="ClassAd expression a machine must fulfil")
    lines: tuple[str, ...] = Field((), description='further lines of the submit file, such as `+JobFlavour = "workday"`')
    image: str | None = Field(None, description="container image jobs run in (Apptainer)")


class JobsubLauncherSettings(RemoteLauncherSettings):
    """Fermilab's jobsub_lite, in front of the DUNE global pool."""

    kind: Literal["jobsub"] = Field(description="which batch system")
    group: str = Field("dune", pattern=r"^[a-z0-9]+$", description="the experiment (-G)")
    role: str = Field("Production", pattern=r"^[A-Za-z0-9]+$", description="role of the token")
    subgroup: str | None = Field(None, pattern=r"^[a-z0-9_]+$", description="a quota of its own, such as keepup")
    site: str | None = Field("CERN", pattern=r"^[A-Za-z0-9_,-]+$", description="GLIDEIN_Site jobs are restricted to; null: any")
    global_pool: str | None = Field(
        "dune", pattern=r"^[a-z0-9]+$", description="pool of the pool map (JOBSUB_POOL_MAP); null: the default one"
    )
    requirements: str | None = Field(None, description="ClassAd expression appended to the requirements; no single quotes, no backslashes")
    lines: tuple[str, ...] = Field((), description="further submit lines (-l)")
    image: str | None = Field(None, description="container image (--singularity-image); default: jobsub's")
    managed_token: bool = Field(False, description="the token is kept fresh by a managed token service (--managed-token)")
    token_file: FilePath | None = Field(None, description="bearer token file (BEARER_TOKEN_FILE); default: jobsub's")
    auth: Literal["token", "token,proxy"] = Field("token", description="what jobsub authenticates with")
    storage_modify: str | None = Field(
        None, description="path the job's token may write below (--need-storage-modify); default: outputs.worker_url's"
    )


class PomsLoginSettings(Strict):
    """The host POMS launches on, which it reaches by ssh: its login setup (launch template)."""

    host: str = Field(pattern=r"^[A-Za-z0-9.-]+$", description="the launch host, such as dunegpvm16.fnal.gov")
    account: str = Field("dunepro", pattern=r"^[a-z_][a-z0-9_-]*$", description="account there")
    setup: str = Field("", pattern=r"^[^\r\n]*$", description="shell command that puts `dune-prompt` on the PATH there, on one line")
    token_file: FilePath = Field(description="file there that holds the operator's token of our service")


class PomsLauncherSettings(JobsubLauncherSettings):
    """POMS in front of jobsub: its scheduler starts `dune-prompt launch` on a host at Fermilab, which fetches jobs here and submits them.

    What jobsub needs is as for `jobsub`; `token_file` and `command_path` are those of the launch host.
    """

    kind: Literal["poms"] = Field(description="which batch system")  # type: ignore[assignment]
    slice: int = Field(800, ge=1, le=10_000, description="jobs of one launch at most")
    silent_after: DurationS = Field(1800.0, gt=0, description="time without a launch until the next launcher takes over")
    url: HttpUrl = Field(description="address of the POMS server, without `/poms`")
    poms_role: Literal["production", "analysis"] = Field("production", description="role the campaign belongs to")
    login: PomsLoginSettings = Field(description="the launch host")
    every: DurationS = Field(300.0, description="time between two launches of the first stage: 1 to 59 minutes, or 1 to 23 whole hours")
    proxy: FilePath | None = Field(None, description="X.509 proxy for POMS; default: X509_USER_PROXY, or /tmp/x509up_u<uid>")
    bearer_file: FilePath | None = Field(None, description="bearer token file for POMS, in place of the proxy")
    ca: FilePath | None = Field(
        None, description="certificate authorities POMS is checked against, a file or folder; default: the system's"
    )
    retake_after: DurationS = Field(900.0, gt=0, description="a launch that named no job id for so long is completed by the next one")
    queue_wait: DurationS = Field(6 * 3600.0, gt=0, description="a job that has not begun after this time, and is not seen, is lost")

    @field_validator("every")
    @classmethod
    def _in_cron(cls, every: float) -> float:
        """POMS keeps one line of a crontab for each stage."""
        minutes, hours = every / 60, every / 3600
        if not (minutes.is_integer() and 1 <= minutes <= 59) and not (hours.is_integer() and 1 <= hours <= 23):
            raise ValueError("POMS launches every 1 to 59 minutes, or every 1 to 23 whole hours")
        return every


LauncherSettings = Annotated[
    LocalLauncherSettings | HTCondorLauncherSettings | JobsubLauncherSettings | PomsLauncherSettings, Field(discriminator="kind")
]
