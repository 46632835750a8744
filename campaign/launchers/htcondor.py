"""Jobs in an HTCondor pool whose queue (schedd) is on this machine: a submission is one cluster, a job's index its process number.

A queue that does not answer looks empty to whoever does not check, so jobs are missing only in answers of one that gives a sign of life.
Each job's ad carries the submission's id and its attempt's: a submission whose answer was lost is looked for before it counts as refused.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import structlog

from campaign.launchers import condor_jobs
from campaign.launchers.htcondor_submit import ARRIVED, ITEMS, item_file, name, one_of, submit_file
from campaign.launchers.jobsub_answers import Ad, by_attempt, complaint_in, handle_of, without_tokens
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.errors import CommandError, ConfigError, TransientError
from dune_prompt.process import Completed, run
from dune_prompt.settings.launchers import HTCondorLauncherSettings

log = structlog.get_logger(__name__)

SUBMIT_S, QUERY_S, REMOVE_S = 300.0, 120.0, 120.0
# A job has to be missing in so many answers in a row before it counts as gone.
MISSES = 2
REMOVE_TRIES = 5
# Ads of the history that are read at most, the newest first.
HISTORY_ADS = 20_000
# Who finds the submit file in the submission's folder looks in the queue first.
SUBMIT_FILE, LOCK = "htcondor.sub", "htcondor.lock"
# Names in one question; the longest argument Linux takes is 128 KiB.
NAMES_PER_QUESTION = 1_000

_SUBMITTED = re.compile(r"^(?P<cluster>\d+)\.0 - (?P=cluster)\.(?P<last>\d+)\s*$", re.MULTILINE)
_ANSWERED = re.compile(r"^Job (\d+\.\d+) ", re.MULTILINE)
# What in a refusal tells that somebody has to change something. Only what is sure: tasks are parked on it.
_WRONG_SETTING = re.compile(
    r"on Line \d+ of submit file|Parse error in expression|[Ff]ailed to parse|Executable file .* does not exist|MAX_JOBS_PER_SUBMISSION"
    r"|not allowed for security reasons"
)
_PASSED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CONDOR_CONFIG", "BEARER_TOKEN_FILE", "X509_USER_PROXY"}
    | {"X509_CERT_DIR", "KRB5CCNAME", "KRB5_CONFIG", "XDG_RUNTIME_DIR"}
)
_PASSED_PREFIXES = ("_condor_", "_CONDOR_")
_TEXT = 300


class HTCondorLauncher:
    """Hands submissions to `condor_submit` and asks `condor_q` about all jobs at once.

    `environment` is what the commands' environment is taken from (ours); `prefix` is put before each command.
    """

    name = "htcondor"
    answers_later = False

    submit_s, query_s, remove_s = SUBMIT_S, QUERY_S, REMOVE_S

    def __init__(
        self, settings: HTCondorLauncherSettings, *, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self._settings, self._prefix = settings, tuple(prefix)
        self._environment = _command_environment(settings, os.environ if environment is None else environment)
        self._named = ["-name", name("schedd", settings.schedd)] if settings.schedd else []
        # The queue's name, as jobs' ads have it.
        self._schedd: str | None = None
        self._schedd_is_here = False
        self._misses: dict[str, int] = {}
        self._last: dict[str, JobStatus] = {}
        self._gone: dict[str, JobStatus] = {}
        self._removals: dict[str, int] = {}

    # --- submitting

    def submit(self, submission: Submission) -> Mapping[str, str]:
        text, items = submit_file(self._settings, submission), item_file(submission)
        if shutil.which("condor_submit", path=self._environment["PATH"]) is None:
            raise ConfigError("htcondor: condor_submit is not on the PATH; install HTCondor or set `command_path`")
        self._check_schedd()
        file = submission.folder / SUBMIT_FILE
        try:
            if file.exists():
                self._wait_for_earlier(submission)
                if handles := self._taken(submission):
                    log.warning("submission found again", submission=submission.id, jobs=len(handles))
                    return handles
            (submission.folder / ITEMS).write_text(items, "utf-8")
            file.write_text(text, "utf-8")
        except OSError as error:
            raise TransientError(f"htcondor: {error}") from None
        command = ["condor_submit", *self._named, "-terse", str(file)]
        try:
            answer = self._run(command, self.submit_s, before=["flock", str(submission.folder / LOCK)])
        except TransientError as error:
            return self._after_no_answer(submission, error)
        if (match := _SUBMITTED.search(answer.stdout)) is not None and int(match["last"]) + 1 == len(submission.jobs):
            # condor_submit does not tell the name of the queue, so the first jobs are looked up.
            if self._schedd is None:
                return self._taken(submission)
            return {job.attempt: f"{match['cluster']}.{index}@{self._schedd}" for index, job in enumerate(submission.jobs)}
        message = f"condor_submit named no jobs: {_words(answer)}"
        if answer.returncode and _WRONG_SETTING.search(answer.stderr):
            raise ConfigError(message)
        return self._after_no_answer(submission, TransientError(message))

    def _wait_for_earlier(self, submission: Submission) -> None:
        """A condor_submit that outlived the process which had started it holds the lock: what it submits shows after it."""
        wait = ["flock", "--wait", f"{self.submit_s:g}", str(submission.folder / LOCK), "true"]
        if run(wait, timeout_s=self.submit_s + 10, env=self._environment, check=False).returncode:
            raise TransientError(f"htcondor: an earlier condor_submit of submission {submission.id} has not ended")

    def _after_no_answer(self, submission: Submission, error: TransientError) -> Mapping[str, str]:
        """No answer says nothing: the queue may have taken the jobs before something went wrong.

        Raises:
            TransientError: `error`, when the queue has none of them, or does not tell.
        """
        try:
            handles = self._taken(submission)
        except TransientError as unclear:
            raise TransientError(f"{str(error)[:_TEXT]}; and it is not clear whether it was taken: {unclear}") from None
        if not handles:
            raise error
        log.warning("submission was taken though condor_submit did not say so", submission=submission.id, error=str(error)[:_TEXT])
        return handles

    def _taken(self, submission: Submission) -> dict[str, str]:
        """The handles of those jobs of `submission` that the queue has or had, by attempt.

        Raises:
            TransientError: the queue does not answer.
        """
        mine = {job.attempt for job in submission.jobs}
        ads = self._queue([one_of("PPRequestId", [submission.id])]) or self._history(sorted(mine))
        chosen, _ = by_attempt(ads, {})
        return {attempt: handle for attempt, ad in chosen.items() if attempt in mine and (handle := handle_of(ad))}

    def _check_schedd(self) -> None:
        """The queue's own machine reads and writes the jobs' files: it has to be this one.

        Raises:
            ConfigError: it is another. TransientError: it cannot be told.
        """
        if not self._settings.schedd or self._schedd_is_here:
            return
        here = self._run(["condor_config_val", "FULL_HOSTNAME"], self.query_s).stdout.strip()
        machines = {ad.get("Machine") for ad in self._schedds() if ad.get("Name") == self._settings.schedd}
        if not machines:
            raise TransientError(f"htcondor: the collector does not know the queue {self._settings.schedd} (schedd)")
        if machines != {here}:
            raise ConfigError(f"htcondor: schedd: {self._settings.schedd} is not on this machine; only a queue on this machine can be used")
        self._schedd_is_here = True

    # --- watching

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        attempts = {job.attempt for job in jobs}
        for kept in (self._misses, self._last, self._gone):
            for attempt in kept.keys() - attempts:
                kept.pop(attempt)
        open_jobs = [job for job in jobs if job.attempt not in self._gone]
        if open_jobs:
            chosen, second = by_attempt(self._look_for(open_jobs), {job.attempt: job.handle for job in open_jobs})
            if second:
                log.warning("jobs submitted twice, the second ones are removed", jobs=second[:10])
            to_remove = [*second]
            for job in open_jobs:
                if (ad := chosen.get(job.attempt)) is not None:
                    self._misses.pop(job.attempt, None)
                    status = condor_jobs.status_of(ad)
                    self._note(job, status)
                    if status.seen is Seen.GONE and status.handle and condor_jobs.stays(ad):
                        log.warning("job is removed", attempt=job.attempt, job=status.handle, reason=status.message)
                        to_remove.append(status.handle)
            if missing := [job for job in open_jobs if job.attempt not in chosen]:
                self._look_back(missing)
            self._remove(to_remove)
        return {job.attempt: self._gone.get(job.attempt) or self._last[job.attempt] for job in jobs}

    def _look_for(self, jobs: Sequence[Job]) -> list[Ad]:
        """The ads of all these jobs, and of others of their submissions."""
        submissions = list(dict.fromkeys(job.submission for job in jobs if job.submission))
        constraints = [one_of("PPRequestId", piece) for piece in _pieces(submissions)]
        alone = [job.attempt for job in jobs if not job.submission]
        return self._queue([*constraints, *(one_of("PPAttempt", piece) for piece in _pieces(alone))])

    def _look_back(self, jobs: Sequence[Job]) -> None:
        """Jobs the queue does not have: how they ended is in the history. Those it does not know either are gone when missed again."""
        ended = {ad.get("PPAttempt"): ad for ad in self._history([job.attempt for job in jobs])}
        alive: set[str] = set()
        with suppress(TransientError):
            alive = {str(ad.get("Name")) for ad in self._schedds()}
        for job in jobs:
            if (ad := ended.get(job.attempt)) is not None:
                self._note(job, condor_jobs.status_in_history(ad))
                continue
            schedd = job.handle.partition("@")[2] if job.handle else self._settings.schedd or self._schedd
            is_alive = schedd in alive if schedd else bool(alive)
            self._misses[job.attempt] = self._misses.get(job.attempt, 0) + is_alive
            if self._misses[job.attempt] >= MISSES:
                self._note(job, JobStatus(Seen.GONE, message="neither the queue nor its history has it", handle=job.handle))
            else:
                message = "not in the queue's answer" if is_alive else "the collector does not know its queue"
                self._note(job, JobStatus(Seen.UNKNOWN, message=message, handle=job.handle))

    def _note(self, job: Job, status: JobStatus) -> None:
        """Take the state of a job down. When it is over, its report takes its place, unless the engine has it already."""
        self._last[job.attempt] = status
        if status.seen is Seen.GONE:
            self._gone[job.attempt] = status
            arrived = job.job_dir / ARRIVED
            with suppress(OSError):
                if arrived.exists() and not job.report.exists():
                    arrived.replace(job.report)

    # --- asking

    def _queue(self, constraints: Iterable[str]) -> list[Ad]:
        """The ads of the jobs that meet one of the constraints.

        Raises:
            TransientError: the queue does not answer.
        """
        found: list[Ad] = []
        for constraint in constraints:
            command = ["condor_q", *self._named, "-allusers", "-json", "-attributes", condor_jobs.ATTRIBUTES, "-constraint", constraint]
            found += self._ads(command)
        if found:
            self._schedd = (handle_of(found[-1]) or "").partition("@")[2] or self._schedd
        return found

    def _history(self, attempts: Sequence[str]) -> list[Ad]:
        """The ads of those of the attempts that have left the queue; none if no history is kept."""
        found: list[Ad] = []
        for piece in _pieces(attempts):
            limits = ["-limit", str(len(piece)), "-scanlimit", str(HISTORY_ADS), "-constraint", one_of("PPAttempt", piece)]
            try:
                found += self._ads(["condor_history", *self._named, "-json", "-attributes", condor_jobs.ATTRIBUTES, *limits])
            except TransientError as error:
                log.warning("no history of ended jobs", error=str(error)[:_TEXT])
        return found

    def _schedds(self) -> list[Ad]:
        return self._ads(["condor_status", "-schedd", "-json", "-attributes", "Name,Machine"])

    def _ads(self, command: Sequence[str]) -> list[Ad]:
        """The ads a command prints: one array, or nothing where there are none.

        Raises:
            TransientError: it has failed, or its answer is cut.
        """
        answer = self._run(command, self.query_s)
        if answer.returncode or complaint_in(answer.stderr):
            raise TransientError(f"{command[0]}: {_words(answer)}")
        try:
            ads = json.loads(answer.stdout.strip() or "[]", strict=False)
        except ValueError:
            raise TransientError(f"{command[0]}: its answer is cut") from None
        return [ad for ad in ads if isinstance(ad, dict)]

    # --- ending, sign of life

    def kill(self, jobs: Sequence[Job]) -> None:
        """Have jobs removed: they are told to end, and killed if they have not ended soon.

        Raises:
            TransientError: the queue does not answer.
        """
        self._remove([job.handle for job in jobs if job.handle])
        for piece in _pieces([job.attempt for job in jobs if not job.handle]):
            answer = self._run(["condor_rm", *self._named, "-constraint", one_of("PPAttempt", piece)], self.remove_s)
            if answer.returncode and "find/remove all jobs" not in answer.stderr:
                raise TransientError(f"condor_rm: {_words(answer)}")
        if self._removals:
            raise TransientError(f"condor_rm: no answer about {len(self._removals)} jobs")

    def _remove(self, handles: Iterable[str]) -> None:
        """`condor_rm` for these, and once more for those it did not answer for the last times."""
        self._removals |= dict.fromkeys(handles, REMOVE_TRIES)
        left: dict[str, int] = {}
        for piece in _pieces(sorted(self._removals)):
            jobs = [handle.partition("@")[0] for handle in piece]
            answered: set[str] = set()
            try:
                answer = self._run(["condor_rm", *self._named, *jobs], self.remove_s)
                answered = set(_ANSWERED.findall(f"{answer.stdout}\n{answer.stderr}"))
            except TransientError as error:
                log.warning("jobs could not be removed now", error=str(error)[:_TEXT])
            left |= {handle: self._removals[handle] - 1 for handle, job in zip(piece, jobs, strict=True) if job not in answered}
        self._removals = {handle: tries for handle, tries in left.items() if tries}

    def fetch_log(self, job: Job) -> None:
        """HTCondor brings it when the job ends; of one that was removed or held there is none."""

    def available(self) -> None:
        self._queue(["false"])

    def something_ended(self) -> bool:
        return False

    def _run(self, command: Sequence[str], timeout_s: float, before: Sequence[str] = ()) -> Completed:
        """Run a command; `before` stands before the prefix.

        Raises:
            TransientError: it did not end in time, or is not there.
        """
        try:
            return run([*before, *self._prefix, *command], timeout_s=timeout_s, env=self._environment, check=False)
        except CommandError:
            raise TransientError(f"{command[0]}: no answer within {timeout_s:g} s") from None
        except ConfigError as error:
            raise TransientError(str(error)) from None


def _command_environment(settings: HTCondorLauncherSettings, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of condor's commands: what they read, and nothing else of ours."""
    account = pwd.getpwuid(os.getuid())
    environment = {"USER": account.pw_name, "HOME": account.pw_dir, "LANG": "C.UTF-8", "PATH": os.defpath}
    environment |= {key: value for key, value in ours.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)}
    if settings.command_path:
        environment["PATH"] = f"{settings.command_path}:{environment['PATH']}"
    if settings.config:
        environment["CONDOR_CONFIG"] = str(settings.config)
    if settings.collector:
        environment["_CONDOR_COLLECTOR_HOST"] = settings.collector
    return environment


def _pieces(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + NAMES_PER_QUESTION] for start in range(0, len(names), NAMES_PER_QUESTION)]


def _words(answer: Completed) -> str:
    """What a failed command said, on one line."""
    words = " ".join((answer.stderr or answer.stdout).split())
    return f"exit code {answer.returncode}: {without_tokens(words) or 'it printed nothing'}"
