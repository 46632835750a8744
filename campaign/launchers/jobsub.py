"""Jobs in the DUNE global pool through Fermilab's jobsub_lite 1.12: a submission is one plain cluster, a job's index its process number.

jobsub's exit codes say nothing, so what counts is what it prints and what the queue shows. Each job's ad carries the submission's id and
its attempt's: a submission whose answer was lost is looked for before anybody calls it refused.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from campaign.launchers import jobsub_answers as answers
from campaign.launchers import jobsub_command as commands
from campaign.launchers.jobsub_answers import Ad, Queue
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.errors import CommandError, ConfigError, TransientError
from dune_prompt.process import Completed, run
from dune_prompt.settings.launchers import JobsubLauncherSettings

log = structlog.get_logger(__name__)

# Twenty tries of half a minute until a new tarball is published, then the transfer of every job's files to the queue.
SUBMIT_S = 13 * 60.0
QUERY_S, REMOVE_S, LOG_S, SCHEDDS_S = 180.0, 120.0, 120.0, 30.0
# A job has to be missing in so many answers before it counts as gone; an answer without proof that its queue took part counts a tenth.
MISSES, BLIND_MISS = 3.0, 0.1
# A job whose files have not arrived at the queue after this time will never have them: its submission was cut off.
SPOOLING_S = 20 * 60.0
# How often a queue is asked for jobs it may have taken, and for the files of those to be there.
LOOKS, LOOKS_FOR_FILES, PAUSE_S = 3, 15, 2.0
# A queue seen this short a time ago and now unknown to the collector may hold what is looked for.
REMEMBERED_S = 3600.0
REMOVE_TRIES = 5
# Written into the submission's folder before jobsub_submit is run for the first time.
BEGUN = "jobsub_submit.begun"
_BUSY = 75
_TOTALS = ("TotalJobAds", "TotalRunningJobs", "TotalIdleJobs", "TotalHeldJobs", "TotalRemovedJobs")
_TEXT = 300


@dataclass(frozen=True, slots=True)
class _Schedds:
    """The queues the collector knows: all of jobsub's, and those a question without names goes to.

    `empty`: those without any job, as they said at this time last. `condor_q -schedd-constraint` does not ask these, so a job they have
    just taken does not show until they say more.
    """

    known: frozenset[str]
    serving: frozenset[str]
    empty: Mapping[str, float]

    def told_since(self, schedds: Iterable[str], asked_at: float) -> bool:
        """Whether the empty ones of these have said so after `asked_at`."""
        return all(self.empty.get(schedd, asked_at) >= asked_at for schedd in schedds)


class JobsubLauncher:
    """Hands submissions to `jobsub_submit` and asks `jobsub_q` about all jobs at once.

    `environment` is what the commands' environment is taken from (ours). Two submissions of one user must not overlap, jobsub moves his
    vault tokens around each: `lock_folder` holds the lock, `$TMPDIR` or `/tmp` by default, where those tokens are.
    """

    name = "jobsub"
    answers_later = False

    submit_s = SUBMIT_S
    query_s = QUERY_S
    pause_s = PAUSE_S

    def __init__(
        self, settings: JobsubLauncherSettings, *, environment: Mapping[str, str] | None = None, lock_folder: Path | None = None
    ) -> None:
        self._settings = settings
        ours = os.environ if environment is None else environment
        self._environment = commands.command_environment(settings, ours)
        self._collector = commands.collector_of(settings, self._environment)
        self._lock = (lock_folder or Path(self._environment.get("TMPDIR", "/tmp"))) / f"dune-prompt-jobsub-{os.getuid()}.lock"  # noqa: S108
        self._misses: dict[str, float] = {}
        self._last: dict[str, JobStatus] = {}
        self._gone: dict[str, JobStatus] = {}
        self._missed_at: dict[str, float] = {}
        self._removals: dict[str, int] = {}
        self._schedds_seen: dict[str, float] = {}

    # --- submitting

    def submit(self, submission: Submission) -> Mapping[str, str]:
        command = commands.submit_command(self._settings, submission)
        if shutil.which(command[0], path=self._environment["PATH"]) is None:
            raise ConfigError(f"jobsub: {command[0]} is not on the PATH; install jobsub_lite or set `command_path`")
        self._check_token()
        begun = submission.folder / BEGUN
        try:
            tried_at = begun.stat().st_mtime if begun.exists() else None
            begun.touch()
            self._lock.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError(f"jobsub: {error}") from None
        guarded = ["flock", "--nonblock", "--conflict-exit-code", str(_BUSY), str(self._lock), *command]
        while True:
            # A jobsub_submit that outlived the process which had started it holds the lock too: what it has submitted shows after it.
            self._wait_for_others()
            if tried_at is not None and (handles := self._taken(submission, tried_at)):
                log.warning("submission found again", submission=submission.id, jobs=len(handles))
                return handles
            try:
                answer = run(guarded, timeout_s=self.submit_s, env=self._environment, cwd=submission.folder, check=False)
            except CommandError as error:
                return self._after_no_answer(submission, TransientError(str(error)))
            if answer.returncode != _BUSY:
                break
        if (job := answers.submitted(answer.stdout)) is not None:
            cluster, schedd = job
            return {job.attempt: f"{cluster}.{index}@{schedd}" for index, job in enumerate(submission.jobs)}
        refused = answers.refusal(answer)
        if isinstance(refused, ConfigError):
            raise refused
        return self._after_no_answer(submission, TransientError(str(refused)))

    def _wait_for_others(self) -> None:
        """Wait until no jobsub_submit of this user runs."""
        wait = ["flock", "--wait", f"{self.submit_s:g}", "--conflict-exit-code", str(_BUSY), str(self._lock), "true"]
        answer = run(wait, timeout_s=self.submit_s + 10, env=self._environment, check=False)
        if answer.returncode == _BUSY:
            raise TransientError(f"jobsub: another jobsub_submit has held {self._lock} for {self.submit_s:.0f} s")
        if answer.returncode != 0:
            raise ConfigError(f"jobsub: {self._lock} cannot be locked: {answers.last_words(answer)}")

    def _after_no_answer(self, submission: Submission, error: TransientError) -> Mapping[str, str]:
        """jobsub named no job. That says nothing: the queue may have taken them before something went wrong.

        Raises:
            TransientError: `error`, when the queue has none of them, or does not tell.
        """
        try:
            handles = self._taken(submission, time.time())
        except TransientError as unclear:
            raise TransientError(f"{str(error)[:_TEXT]}; and it is not clear whether it was taken: {unclear}") from None
        if handles:
            log.warning("submission was taken though jobsub did not say so", submission=submission.id, jobs=len(handles), error=str(error))
            return handles
        raise error

    def _taken(self, submission: Submission, tried_at: float) -> dict[str, str]:
        """The handles of those jobs of `submission` that a queue has, by attempt; called when no jobsub_submit has run since `tried_at`.

        It looks several times: a queue may answer without a job it has just taken, and takes a moment to notice that all files are there.

        Raises:
            TransientError: a queue that may have them does not answer.
        """
        mine = {job.attempt for job in submission.jobs}
        looks = 0
        while True:
            found = self._ask([commands.one_of(commands.REQUEST, [submission.id])], ())
            looks += 1
            waiting = [handle for ad in found.ads if answers.is_spooling(ad) and (handle := answers.handle_of(ad))]
            chosen, second = answers.by_attempt([ad for ad in found.ads if not answers.is_spooling(ad)], {})
            handles = {attempt: handle for attempt, ad in chosen.items() if attempt in mine and (handle := answers.handle_of(ad))}
            if not waiting and (handles or looks >= LOOKS):
                break
            if waiting and looks >= LOOKS_FOR_FILES:
                break
            time.sleep(self.pause_s)
        # Jobs that still wait for their files do so for ever: who was sending them is dead.
        self._remove([*waiting, *second])
        if not handles and not waiting and not self._all_answered(found, self._schedds(), tried_at):
            raise TransientError(found.complaint or "jobsub_q: no sign of life from all the queues there were")
        return handles

    # --- watching

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        self._forget_all_but({job.attempt for job in jobs})
        open_jobs = [job for job in jobs if job.attempt not in self._gone]
        if open_jobs:
            self._check_token()
            found = self._look_for(open_jobs)
            chosen, second = answers.by_attempt(found.ads, {job.attempt: job.handle for job in open_jobs})
            if second:
                log.warning("jobs submitted twice, the second ones are removed", jobs=second[:10])
            to_remove = [*second]
            missing = []
            for job in open_jobs:
                if (ad := chosen.get(job.attempt)) is None:
                    missing.append(job)
                    continue
                status = self._seen(job, ad, now)
                if status.seen is Seen.GONE and status.handle and answers.number(ad, "JobStatus") == answers.HELD:
                    log.warning("job on hold is removed", attempt=job.attempt, job=status.handle, reason=status.message)
                    to_remove.append(status.handle)
            if missing:
                self._count_misses(missing, found, now)
            self._remove(to_remove)
        return {job.attempt: self._gone.get(job.attempt) or self._last[job.attempt] for job in jobs}

    def _look_for(self, jobs: Sequence[Job]) -> Queue:
        """The ads of all these jobs, and of others of their submissions."""
        submissions = list(dict.fromkeys(job.submission for job in jobs if job.submission))
        constraints = [commands.one_of(commands.REQUEST, piece) for piece in commands.pieces(submissions)]
        clusters = list(dict.fromkeys(_split(job.handle)[0] for job in jobs if job.handle and not job.submission))
        constraints += [" || ".join(f"ClusterId=={cluster}" for cluster in piece) for piece in commands.pieces(clusters)]
        # With names, a queue that takes no new jobs now (InDownTime) is asked too; without, new ones are found.
        schedds = {_split(job.handle)[1] if job.handle else "" for job in jobs}
        return self._ask(constraints, schedds if all(commands.in_an_id(schedd) for schedd in schedds) else ())

    def _ask(self, constraints: Iterable[str], schedds: Iterable[str]) -> Queue:
        """All answers as one.

        Raises:
            TransientError: something failed and nothing was found.
        """
        named = frozenset(schedds)
        parts = [answers.queue(self._run(commands.queue_command(self._settings, part, named), self.query_s)) for part in constraints]
        complaint = next((part.complaint for part in parts if part.complaint), None)
        ads = {answers.handle_of(ad): ad for part in parts for ad in part.ads}
        if complaint and not ads:
            raise TransientError(f"jobsub_q: {complaint}")
        return Queue(tuple(ads.values()), complaint, frozenset().union(*(part.silent for part in parts)))

    def _seen(self, job: Job, ad: Ad, now: float) -> JobStatus:
        """Take down the state of a job that is in the queue."""
        self._misses.pop(job.attempt, None)
        self._missed_at.pop(job.attempt, None)
        status = answers.status_of(ad)
        if answers.is_spooling(ad) and answers.held_for_s(ad, now) < SPOOLING_S:
            status = JobStatus(Seen.WAITING, message="its files are on the way to the queue", handle=status.handle)
        elif answers.is_spooling(ad):
            status = replace(status, ended_by="launch", message="its files never arrived at the queue")
        if status.seen is Seen.GONE:
            self._gone[job.attempt] = status
        if (reason := answers.removed_by_policy(ad)) is not None:
            status = replace(status, ended_by=reason[0], message=reason[1])
        self._last[job.attempt] = status
        return status

    def _count_misses(self, jobs: Sequence[Job], found: Queue, now: float) -> None:
        """A job that is not in the answer is gone only after several, from queues that gave a sign of life: a dead one looks empty."""
        schedds = self._schedds()
        seen_here = {_split(handle)[1] for ad in found.ads if (handle := answers.handle_of(ad))}
        for job in jobs:
            schedd = _split(job.handle)[1] if job.handle else None
            missed_at = self._missed_at.setdefault(job.attempt, now)
            if schedd is None:
                alive, sure = self._all_answered(found, schedds, missed_at), schedds is not None
            else:
                silent = schedd in found.silent or (found.complaint is not None and not found.silent)
                there = schedds is None or (schedd in schedds.known and schedds.told_since([schedd], missed_at))
                alive = not silent and (there or schedd in seen_here)
                sure = schedd in seen_here or schedds is not None
            before = self._last.get(job.attempt)
            if alive:
                self._misses[job.attempt] = self._misses.get(job.attempt, 0.0) + (1.0 if sure else BLIND_MISS)
            if self._misses.get(job.attempt, 0.0) > MISSES - BLIND_MISS / 2:
                known = before or JobStatus(Seen.GONE, handle=job.handle)
                message = known.message if known.ended_by else "it is not in the queue any more" if schedd else "no queue has it"
                self._gone[job.attempt] = replace(known, seen=Seen.GONE, message=message, handle=job.handle)
            else:
                message = "not in the queue's answer" if alive else f"no sign of life from {schedd or 'the queues'}"
                # What was known of it stays known, should it turn out to be gone.
                kept = replace(before, handle=job.handle) if before else JobStatus(Seen.UNKNOWN, handle=job.handle)
                self._last[job.attempt] = replace(kept, seen=Seen.UNKNOWN, message=kept.message if kept.ended_by else message)

    def _all_answered(self, found: Queue, schedds: _Schedds | None, asked_at: float) -> bool:
        """Whether an answer without names speaks for all queues that may have taken a job before `asked_at`."""
        if found.complaint or found.silent:
            return False
        if schedds is None:
            return True
        missing = self._schedds_seen.keys() - schedds.serving
        return bool(schedds.serving) and not missing and schedds.told_since(schedds.serving, asked_at)

    def _schedds(self) -> _Schedds | None:
        """The queues the collector knows now; None when there is no `condor_status` to ask, or it does not answer."""
        try:
            answer = run(commands.schedds_command(self._collector), timeout_s=SCHEDDS_S, env=self._environment)
            ads = json.loads(answer.stdout or "[]")
        except (ConfigError, TransientError, ValueError):
            return None
        ours = [ad for ad in ads if ad.get("IsJobsubLite") is True]
        serving = frozenset(str(ad.get("Name")) for ad in ours if _serves(ad, self._settings.group))
        now = time.monotonic()
        self._schedds_seen |= dict.fromkeys(serving, now)
        self._schedds_seen = {schedd: at for schedd, at in self._schedds_seen.items() if now - at < REMEMBERED_S}
        known = {str(ad.get(key)): ad for ad in ours for key in ("Name", "Machine")}
        empty = {schedd: float(ad.get("LastHeardFrom", 0)) for schedd, ad in known.items() if not any(ad.get(total) for total in _TOTALS)}
        return _Schedds(frozenset(known), serving, empty)

    def _forget_all_but(self, attempts: set[str]) -> None:
        for kept in (self._misses, self._missed_at, self._last, self._gone):
            for attempt in kept.keys() - attempts:
                kept.pop(attempt)

    # --- ending, logs, sign of life

    def kill(self, jobs: Sequence[Job]) -> None:
        """Have jobs removed. Their payloads run on until they end, or their `--timeout` ends them: their outputs bear the attempt's id."""
        self._remove([job.handle for job in jobs if job.handle])
        unknown = [job.attempt for job in jobs if not job.handle]
        for piece in commands.pieces(unknown):
            self._run(commands.remove_by_constraint(self._settings, commands.one_of(commands.ATTEMPT, piece)), REMOVE_S)

    def _remove(self, handles: Iterable[str]) -> None:
        """`jobsub_rm` for these, and once more for those it did not answer for the last times."""
        self._removals |= dict.fromkeys(handles, REMOVE_TRIES)
        if not self._removals:
            return
        said: list[tuple[str, str]] = []
        for command in commands.remove_commands(self._settings, self._removals):
            try:
                answer = self._run(command, REMOVE_S)
            except TransientError as error:
                log.warning("jobs could not be removed now", error=str(error)[:_TEXT])
            else:
                said.append((answer.stdout, answer.stderr))
        left = answers.not_removed("\n".join(out for out, _ in said), "\n".join(err for _, err in said), self._removals)
        self._removals = {handle: self._removals[handle] - 1 for handle in left if self._removals[handle] > 1}

    def fetch_log(self, job: Job) -> None:
        if job.handle is None or job.log.exists():
            return
        folder = job.job_dir / "fetched"
        with suppress(TransientError, OSError):
            self._run(commands.fetchlog_command(self._settings, job.handle, folder.absolute()), LOG_S, cwd=job.job_dir)
        with suppress(OSError):
            if printed := _printed(folder, job.handle):
                draft = job.log.with_name("job.log.draft")
                draft.write_bytes(printed)
                draft.replace(job.log)
        shutil.rmtree(folder, ignore_errors=True)

    def available(self) -> None:
        self._check_token()
        self._ask([commands.one_of(commands.REQUEST, ["none"])], ())
        schedds = self._schedds()
        if schedds is not None and not schedds.serving:
            raise TransientError(f"jobsub: the collector knows no queue that takes jobs of {self._settings.group}")

    def something_ended(self) -> bool:
        return False

    # --- running commands

    def _check_token(self) -> None:
        """jobsub takes another token, or asks for one by web browser, when the file it is told is not there."""
        token = self._settings.token_file
        if token is not None and not token.exists():
            raise TransientError(f"jobsub: the token file {token} (token_file) is not there")

    def _run(self, command: Sequence[str], timeout_s: float, cwd: Path | None = None) -> Completed:
        """Run a command whose exit code says nothing.

        Raises:
            TransientError: it did not end in time, or is not there.
        """
        try:
            return run(command, timeout_s=timeout_s, env=self._environment, cwd=cwd, check=False)
        except ConfigError as error:
            raise TransientError(str(error)) from None


def _serves(ad: Mapping[str, object], group: str) -> bool:
    """Whether jobsub asks this queue for the group's jobs (its `lib/condor.py`)."""
    groups = [name.strip() for name in str(ad.get("SupportedVOList", "")).split(",")]
    return ad.get("InDownTime") is not True and group in groups and "dev" not in str(ad.get("Machine", ""))


def _split(handle: str) -> tuple[str, str]:
    """Cluster and queue of a handle."""
    job, _, schedd = handle.partition("@")
    return job.partition(".")[0], schedd


def _printed(folder: Path, handle: str) -> bytes:
    """What the job wrote to its outputs. jobsub names them `<script><time><uuid>cluster.<cluster>.<process>.out` and `.err`."""
    job = handle.partition("@")[0]
    parts = []
    for kind in ("out", "err"):
        files = sorted(folder.glob(f"*cluster.{job}.{kind}"))
        parts += [f"--- std{kind} of job {handle}\n".encode() + file.read_bytes() for file in files]
    return b"\n".join(parts)
