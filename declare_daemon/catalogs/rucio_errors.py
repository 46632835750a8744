"""What Rucio's refusals mean for the daemon, by the names of the exceptions in `rucio.common.exception`."""

from __future__ import annotations

from dune_prompt.errors import ConfigError, ConflictError, DataError, DunePromptError, TransientError

# Rucio puts the whole request into its texts.
TEXT_LIMIT = 300

NO_DATASET = "DataIdentifierNotFound"
MISMATCH = "FileConsistencyMismatch"

# Somebody else did the same at the same instant, or we did it before and never heard of it.
_ALREADY_THERE = {
    *("DataIdentifierAlreadyExists", "FileAlreadyExists", "FileReplicaAlreadyExists"),
    *("Duplicate", "DuplicateContent", "DuplicateRule"),
}
# In a race of two clients the databases' own words come through.
_RACE = ("UNIQUE constraint", "UniqueViolation", "duplicate key")

_WHO_WE_ARE = """
    AccessDenied AccountNotFound CannotAuthenticate CannotAuthorize IdentityError IdentityNotFound MissingClientParameter
    MissingModuleException NoAuthInformation ClientProtocolNotFound ClientProtocolNotSupported ConfigNotFound ConfigLoadingError
    NoOptionError NoSectionError VONotFound
"""
_WHAT_WE_ASK_FOR = """
    InsufficientAccountLimit InsufficientQuota InsufficientTargetRSEs InvalidRSEExpression InvalidReplicationRule InvalidRuleWeight
    InvalidPath ManualRuleApprovalBlocked RSEFileNameNotSupported RSENotFound RSEProtocolNotSupported ScopeAccessDenied ScopeNotFound
    ScratchDiskLifetimeConflict StagingAreaRuleRequiresLifetime UnsupportedOperation
"""
_CONFIG = {*_WHO_WE_ARE.split(), *_WHAT_WE_ASK_FOR.split()}
_DATA = {"InvalidMetadata", "InvalidObject", "InvalidType", "InvalidValueForKey"}


class Refused(Exception):  # noqa: N818 - not yet an error: some refusals say that all is done
    """Rucio did not do what was asked. `kind` is the name of its exception, `text` what it says, in one short line."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        super().__init__(f"{kind}: {text}")

    @property
    def already_there(self) -> bool:
        """Whether it is there, or is just being made."""
        return self.kind in _ALREADY_THERE or any(words in self.text for words in _RACE)

    def error(self, doing: str) -> DunePromptError:
        """The same as one of our errors; `doing` says what was tried. What is not known for certain is worth another try."""
        text = f"rucio: {doing}: {self.text}"
        if self.kind == MISMATCH or (self.kind == "UnsupportedOperation" and (self.text.endswith("is a file") or "is LOST" in self.text)):
            return ConflictError(text)
        if self.kind in _CONFIG:
            return ConfigError(text)
        if self.kind in _DATA:
            return DataError(text)
        return TransientError(text)


def shorten(text: str) -> str:
    """The first `TEXT_LIMIT` characters, in one line."""
    line = " ".join(text[: 4 * TEXT_LIMIT].split())
    return line if len(line) <= TEXT_LIMIT else line[:TEXT_LIMIT] + "…"
