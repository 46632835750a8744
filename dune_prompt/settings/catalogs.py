"""The catalogues of a site file: SAM, MetaCat, Rucio, and the embedded one. Each entry names its servers and how to prove who we are."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from dune_prompt.settings.paths import FilePath
from dune_prompt.settings.units import DurationS
from dune_prompt.settings.yaml_file import Strict


class EmbeddedCatalogSettings(Strict):
    """The catalogue inside dune-prompt: SQLite in the workspace."""

    kind: Literal["embedded"] = Field(description="which catalogue")
    rse: str = Field("LOCAL", description="name of the storage the buffer counts as")


class SamSettings(Strict):
    """SAM: names, metadata, parentage and locations, one namespace for the whole experiment."""

    kind: Literal["sam"] = Field(description="which catalogue")
    url: HttpUrl = Field(description="the API, such as http://samweb.fnal.gov:8480/sam/dune/api")
    secure_url: HttpUrl | None = Field(
        None, description="the API for writes, such as https://samweb.fnal.gov:8483/sam/dune/api; default: that"
    )
    client: Literal["auto", "samweb_client", "http", "samweb"] = Field(
        "auto",
        description="the module `samweb_client`, plain HTTP, or the command `samweb`; auto: the module where it is installed, else HTTP",
    )
    cert: FilePath | None = Field(None, description="X.509 certificate or proxy for writes")
    key: FilePath | None = Field(None, description="its private key, if not in the same file")
    location: str | None = Field(
        None,
        description="prefix of the locations we add, such as `cern-eos:`; default: SAM is told no locations",
        pattern=r"^[A-Za-z0-9_.-]+:$",
    )
    gives_fid: bool = Field(True, description="a file's SAM id becomes its MetaCat id; MetaCat then waits for SAM")
    connections: int = Field(8, ge=1, le=32, description="requests at once; SAM has no bulk declaration")
    timeout: DurationS = Field(60.0, description="longest wait for one answer")


class MetacatSettings(Strict):
    """MetaCat: names, metadata, parentage and datasets."""

    kind: Literal["metacat"] = Field(description="which catalogue")
    url: HttpUrl = Field(description="the server, such as https://metacat.fnal.gov:9443/dune_meta_prod/app")
    auth_url: HttpUrl | None = Field(None, description="the authentication server, such as https://metacat.fnal.gov:8143/auth/dune")
    auth: Literal["library", "x509", "token", "password"] = Field(
        "library",
        description="how to log in: with the token `metacat auth login` left in its library, a certificate, a bearer token, a password",
    )
    user: str | None = Field(None, description="account to log in as; needed unless `auth` is library")
    cert: FilePath | None = Field(None, description="X.509 certificate or proxy, for x509")
    key: FilePath | None = Field(None, description="its private key, if not in the same file")
    token_file: FilePath | None = Field(None, description="file with a bearer token, for token; read again at every login")
    password_file: FilePath | None = Field(None, description="file with the password, for password")
    timeout: DurationS = Field(60.0, description="longest wait for one answer")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.auth == "library":
            return self
        proof = {"x509": "cert", "token": "token_file", "password": "password_file"}[self.auth]
        needed: dict[str, object] = {"user": self.user, "auth_url": self.auth_url, proof: getattr(self, proof)}
        if missing := [key for key, value in needed.items() if value is None]:
            raise ValueError(f"auth {self.auth} needs {' and '.join(missing)}")
        return self


class RucioSettings(Strict):
    """Rucio: where the copies of files are, and the rules that keep and make them."""

    kind: Literal["rucio"] = Field(description="which catalogue")
    rse: str = Field(description="storage element that the copy at hand counts as", pattern=r"^[A-Z0-9]+([_-][A-Z0-9]+)*$")
    rules: tuple[str, ...] = Field((), description="RSE expressions; each raw dataset gets a rule of one copy for each of them")
    activity: str | None = Field(None, description="activity of the rules' transfers, such as `T0 Export`; default: the server's")
    config: FilePath | None = Field(None, description="the client's rucio.cfg; default: where rucio-clients looks for it")
    account: str | None = Field(None, description="account to act as; default: that of rucio.cfg")
    place: bool = Field(False, description="copy each file to the path the storage element wants before it is registered")
    place_url: str | None = Field(
        None,
        description="how the daemon reaches its prefix: a folder or `root://` address; default: by its first protocol for writing",
    )
    timeout: DurationS = Field(60.0, description="longest wait for one answer")


CatalogSettings = Annotated[
    EmbeddedCatalogSettings | SamSettings | MetacatSettings | RucioSettings,
    Field(discriminator="kind"),
]
