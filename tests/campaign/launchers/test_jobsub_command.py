"""jobsub's command lines and answers, without jobsub: what is let through, what is refused, what is understood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.launchers import jobsub_answers as answers
from campaign.launchers import jobsub_command as commands
from campaign.launchers.protocol import Job, Seen, Submission
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.process import Completed
from dune_prompt.settings.launchers import JobsubLauncherSettings
from tests.servers.jobsub_parts import grammar

GOLDEN = Path(__file__).parent / "golden"


def settings(**changes: Any) -> JobsubLauncherSettings:
    return JobsubLauncherSettings(kind="jobsub", **changes)


def submission(jobs: int = 2, **changes: Any) -> Submission:
    job = Job("A0", Path("/w/jobs/A0"), Path("/w/scripts/chain.py"), 3_000_000_000, 7200.0, submission="01JSUB", disk_bytes=20 * 10**9)
    several = tuple(replace(job, attempt=f"01JATTEMPT{index}", **changes) for index in range(jobs))
    return Submission(
        "01JSUB",
        "pdhd-prompt",
        "v1",
        "chain",
        several,
        Path("/w/submissions/01JSUB"),
        Path("/w/bundles/pdhd-prompt-1a2b.tar.gz"),
        "root://eospublic.cern.ch//eos/experiment/neutplatform/outbox",
        "root://eospublic.cern.ch//eos/experiment/neutplatform/outbox/assignments/01JSUB",
    )


def option(command: list[str], name: str) -> str | None:
    """The value of an option, as jobsub's own grammar reads the command line."""
    arguments = [grammar.unescaped(argument) for argument in command[1:]]
    return getattr(grammar.submit("jobsub_submit").parse_args(arguments), name)


@pytest.fixture(autouse=True)
def _pool_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSUB_POOL_MAP", '{"dune": {"collector": "dunegpcoll01.fnal.gov", "onsite": "FNAL_GPGrid"}}')
    monkeypatch.setenv("USER", "dunepro")
    monkeypatch.delenv("JOBSUB_GROUP", raising=False)
    monkeypatch.setenv("GROUP", "nobody")
    monkeypatch.delenv("_condor_COLLECTOR_HOST", raising=False)


@pytest.mark.parametrize(
    ("golden", "changes"),
    [
        ("jobsub_submit.txt", {}),
        (
            "jobsub_submit_all.txt",
            {
                "subgroup": "keepup",
                "site": "CERN,RAL",
                "requirements": "TARGET.HAS_Singularity==true || TARGET.HAS_CVMFS_dune_opensciencegrid_org==true",
                "lines": ["+FERMIHTC_GraceMemory = 1024", "priority = 5"],
                "image": "/cvmfs/singularity.opensciencegrid.org/fermilab/fnal-wn-el9:latest",
                "managed_token": True,
                "auth": "token,proxy",
                "global_pool": None,
                "storage_modify": "/dune/persistent/prompt",
            },
        ),
    ],
)
def test_the_command_line_is_the_one_in_the_golden_file(golden: str, changes: dict[str, Any]) -> None:
    avoid = {"avoid_hosts": ("b7g13p1234.cern.ch", "lxbsq0815"), "cpus": 2} if changes else {}
    command = commands.submit_command(settings(**changes), submission(**avoid))
    assert "\n".join(command) + "\n" == (GOLDEN / golden).read_text()


def test_every_argument_is_what_it_was_after_jobsub_has_taken_a_layer_of_quotes_off() -> None:
    command = commands.submit_command(settings(requirements='TARGET.Arch=="X86_64"', lines=['+Tag = "a b"']), submission())
    assert [grammar.unescaped(argument) for argument in command] == command


def test_sizes_and_times_have_one_unit_that_jobsub_reads() -> None:
    command = commands.submit_command(settings(), submission(memory_bytes=3 * 2**30 + 1, lifetime_s=5400.5))
    kilobytes = {"k": 1.0, "m": 1024.0, "g": 1024.0**2, "t": 1024.0**3}
    assert grammar.size("", str(option(command, "memory")), {unit: value / 1024 for unit, value in kilobytes.items()}) == 3073.0
    assert grammar.size("", str(option(command, "disk")), kilobytes) * 1024 >= 20 * 10**9
    assert grammar.duration("", str(option(command, "timeout"))) == 5401.0
    assert grammar.duration("", str(option(command, "expected_lifetime"))) > 5401.0


def test_the_script_and_its_arguments_come_last_and_hold_nothing_a_shell_would_change() -> None:
    command = commands.submit_command(settings(), submission())
    script, *arguments = command[-3:]
    assert script == "file:///w/submissions/01JSUB/job.sh"
    assert arguments[0] == "@tar"
    assert all(character not in " *$'\"\\;&|<>()`~" for argument in arguments for character in argument)


def test_requirements_of_the_settings_cannot_widen_those_of_jobsub() -> None:
    command = commands.submit_command(settings(requirements="a || b"), submission())
    assert option(command, "append_condor_requirements") == ["(a || b)"]
    with pytest.raises(ConfigError, match=r"requirements.*parentheses"):
        commands.submit_command(settings(requirements="a) || (b"), submission())


@pytest.mark.parametrize(
    "requirements",
    ["x == 'a'", r"regexp(\"a\\.b\", Machine)", 'Machine == "a', "a\nb", "(a", "é == 1"],
)
def test_an_expression_that_jobsub_would_change_is_refused(requirements: str) -> None:
    with pytest.raises(ConfigError, match="requirements"):
        commands.submit_command(settings(requirements=requirements), submission())


@pytest.mark.parametrize(
    "line",
    [
        "queue 5",
        "requirements = true",
        '+DESIRED_Sites = "FNAL_GPGrid"',
        'MY.DESIRED_SITES = "x"',
        '+PPRequestId = "other"',
        "+LeaveJobInQueue = False",
        "transfer_output_files = all",
        "max_retries = 2",
        "environment = A=b",
        '+SingularityImage="x"',
        "include : file",
        "arguments @=end",
        '+A = "open',
        "+A = 'x'",
        "A == 1",
    ],
)
def test_a_line_that_undoes_what_is_set_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=r"lines\[0\]"):
        commands.submit_command(settings(lines=[line]), submission())


@pytest.mark.parametrize("place", ["root://h//eos/a b", "root://h//eos/$HOME", "root://h//eos/*", "root://h//eos/a;b", "root://h//é"])
def test_a_place_the_worker_would_read_otherwise_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match=r"outputs\.worker_url"):
        commands.submit_command(settings(), replace(submission(), assignments_url=place))


def test_blanks_in_our_own_paths_are_refused() -> None:
    with pytest.raises(ConfigError, match="folder"):
        commands.submit_command(settings(), replace(submission(), folder=Path("/w/my submissions/1")))
    with pytest.raises(ConfigError, match="bundle"):
        commands.submit_command(settings(), replace(submission(), bundle=Path("/w/it's/b.tar")))


@pytest.mark.parametrize("value", ["a;b", 'a"b', "a\nb", "a'b", "a\\b", "$HOME"])
def test_a_variable_that_condors_old_syntax_would_tear_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="environment A"):
        commands.environment_entry("A", value)


def test_a_variable_may_hold_blanks() -> None:
    assert commands.environment_entry("A", "b c") == "A=b c"


def test_a_submission_without_a_bundle_or_a_place_for_assignments_is_a_wrong_setting() -> None:
    for change in ({"bundle": None}, {"assignments_url": None}):
        with pytest.raises(ConfigError, match="share no files"):
            commands.submit_command(settings(), replace(submission(), **change))


def test_more_attempts_than_fit_into_an_argument_name_the_setting_to_change() -> None:
    with pytest.raises(ConfigError, match="slice"):
        commands.submit_command(settings(), submission(jobs=9000))


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("root://eospublic.cern.ch//eos/experiment/x", "/experiment/x"),
        ("root://fndca1.fnal.gov:1094//pnfs/fnal.gov/usr/dune/x/", "/dune/x"),
        ("/pnfs/dune/scratch/x", "/dune/scratch/x"),
        ("davs://host:2880/dune/x?a=b", "/dune/x"),
        ("/data/outbox", "/data/outbox"),
        ("/pnfs/dune/a/../b", "/dune/b"),
    ],
)
def test_the_right_to_write_is_asked_for_the_path_tokens_know(place: str, path: str) -> None:
    assert commands.storage_path(place) == path


def test_nobody_asks_for_the_right_to_write_everywhere() -> None:
    with pytest.raises(ConfigError, match="storage_modify"):
        commands.submit_command(settings(storage_modify="/"), submission())


def test_the_environment_holds_what_jobsub_reads_and_nothing_else() -> None:
    ours = {
        "PATH": "/bin",
        "HOME": "/home/d",
        "USER": "d",
        "LD_LIBRARY_PATH": "/x",
        "JOBSUB_POOL_MAP": "{}",
        "JOBSUB_GLOBAL_POOL": "other",
        "_condor_COLLECTOR_HOST": "c",
        "DUNE_PROMPT_TOKEN": "secret",
        "GROUP": "users",
    }
    environment = commands.command_environment(settings(token_file="/run/token", command_path="/opt/jobsub/bin"), ours)
    assert environment == {
        "PATH": "/opt/jobsub/bin:/bin",
        "HOME": "/home/d",
        "USER": "d",
        "LANG": "C.UTF-8",
        "JOBSUB_POOL_MAP": "{}",
        "_condor_COLLECTOR_HOST": "c",
        "GROUP": "dune",
        "BEARER_TOKEN_FILE": "/run/token",
    }
    bare = commands.command_environment(settings(), {})
    assert bare["USER"]
    assert bare["HOME"]


def test_a_question_is_a_constraint_with_double_quotes_and_an_answer_in_json() -> None:
    command = commands.queue_command(settings(), commands.one_of("PPRequestId", ["01A", "01B"]), ["jobsub02.fnal.gov", "jobsub01.fnal.gov"])
    assert command[command.index("--constraint") + 1] == 'PPRequestId=?="01A" || PPRequestId=?="01B"'
    assert "-json" in command
    assert command[-2:] == ["@jobsub01.fnal.gov", "@jobsub02.fnal.gov"]
    assert command[1:8] == ["-G", "dune", "--role=Production", "--auth-methods", "token", "--global-pool", "dune"]


def test_jobs_of_a_queue_with_a_hyphen_are_removed_by_its_name() -> None:
    found = commands.remove_commands(settings(global_pool=None), ["1.0@jobsub01.fnal.gov", "2.1@jobsub02.fnal.gov", "3.0@x-y.fnal.gov"])
    assert [command[6:] for command in found] == [["-J", "1.0@jobsub01.fnal.gov,2.1@jobsub02.fnal.gov"], ["-name", "x-y.fnal.gov", "3.0"]]


# --- answers


SUBMITTED = """\
Note: tracing not available here.

Continuing without tracing...
Submitting job(s)..........
10 job(s) submitted to cluster 4242.

=-=-=-=-

Use job id 4242.0@jobsub05.fnal.gov to retrieve output
=-=-=-=-
"""


def test_a_submission_is_known_by_the_line_with_its_job_id() -> None:
    assert answers.submitted(SUBMITTED) == ("4242", "jobsub05.fnal.gov")
    assert answers.submitted("10 job(s) submitted to cluster 4242.\n") is None
    assert answers.submitted("Use job id 1.0@x-y.fnal.gov to retrieve output") == ("1", "x-y.fnal.gov")


TRACING = """\
ERROR:root:importing tracing
Traceback (most recent call last):
  File "/opt/jobsub_lite/lib/tracing.py", line 58, in <module>
    from opentelemetry.exporter.jaeger.thrift import JaegerExporter
ModuleNotFoundError: No module named 'opentelemetry'
"""


def test_the_traceback_of_the_tracing_library_is_no_complaint() -> None:
    assert answers.complaint_in(TRACING) is None
    assert answers.complaint_in(TRACING.replace("ModuleNotFoundError: No module", "KeyError: 'OTEL_EXPORTER_JAEGER_ENDPOINT'")) is None


@pytest.mark.parametrize(
    "line",
    [
        "-- Failed to fetch ads from: <10.0.0.1:9618> : jobsub02.fnal.gov",
        "Error: HTCondorIOError: Failed communication with collector.",
        "ERROR: Failed to connect to queue manager jobsub02.fnal.gov",
        "condor_q: Can't find address of schedd x",
        "cannot get address of schedd x",
        "AUTHENTICATE:1003:Failed to authenticate with any method",
    ],
)
def test_complaints_are_found_between_the_noise(line: str) -> None:
    assert answers.complaint_in(f"{TRACING}\n{line}\n") is not None


def refusal(stderr: str, code: int = 0) -> Exception:
    return answers.refusal(Completed(("jobsub_submit",), code, "", stderr))


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("usage: jobsub_submit [-h]\njobsub_submit: error: unrecognized arguments: -M\n", 2),
        ('\n\nError: KeyError: "--global-pool value must be one of ()"\n\n', 1),
        ("\n\nError: ValueError: BEARER_TOKEN_FILE contains a token with the wrong group or role. jobsub expects\n\n", 1),
        ("\n\nError: PermissionError: Unable to add 'storage.modify:/x' scope given initial scope '[]'\n\n", 1),
        ("ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_SUBMISSION\nError: condor_submit exited with failed status code 1", 0),
    ],
)
def test_a_refusal_that_needs_somebody_is_a_wrong_setting(stderr: str, code: int) -> None:
    assert isinstance(refusal(TRACING + stderr, code), ConfigError)


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("\n\nError: PermissionError: Failed attempting 'htgettoken  -i dune -r production'\n\n", 1),
        ("\n\nError: HTCondorIOError: Failed communication with collector.\n\n", 1),
        ("\n\nError: RuntimeError: Error: No schedds satisfying the constraint were found\n\n", 1),
        ("\n\nError: RuntimeError: Max retries 20 to find RCDS tarball at dune/ab exceeded.\n\n", 1),
        ("ERROR: Failed to connect to queue manager\nError: condor_submit exited with failed status code 1", 0),
        ("", 0),
    ],
)
def test_any_other_refusal_passes_by_itself(stderr: str, code: int) -> None:
    error = refusal(TRACING + stderr, code)
    assert type(error) is TransientError
    for line in stderr.split("\n"):
        assert line in str(error)


def test_a_token_in_an_error_text_is_not_repeated() -> None:
    token = f"{'a' * 40}.{'b' * 200}.{'c' * 80}"
    assert "bbbb" not in str(refusal(f"Error: ValueError: bad token {token}"))


NOISE = st.sampled_from(
    [
        "",
        "Note: tracing not available here.",
        "Continuing without tracing...",
        "[not json",
        "['token', 'proxy']",
        "[1, 2]",
        "All queues are empty",
        "]",
    ]
)
ADS = st.lists(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.one_of(st.integers(), st.booleans(), st.text()), min_size=1
    ),
    min_size=1,
    max_size=3,
)


def printed(ads: list[dict[str, Any]]) -> str:
    """As `condor_q -json` prints."""
    return "[\n" + "\n,\n".join(json.dumps(ad, indent=2) for ad in ads) + "\n]\n"


@given(st.lists(st.tuples(st.lists(NOISE, max_size=3), ADS), max_size=4), st.lists(NOISE, max_size=3))
def test_arrays_are_found_between_any_noise(parts: list[tuple[list[str], list[dict[str, Any]]]], last: list[str]) -> None:
    text = "".join("".join(f"{line}\n" for line in noise) + printed(ads) for noise, ads in parts) + "\n".join(last)
    assert answers.arrays(text) == [ad for _, ads in parts for ad in ads]


@given(ADS, st.data())
def test_a_cut_answer_is_never_taken_for_a_short_one(ads: list[dict[str, Any]], data: st.DataObject) -> None:
    text = printed(ads)
    cut = text[: data.draw(st.integers(2, len(text) - 3))]
    with pytest.raises(TransientError, match="cut"):
        answers.arrays(cut)


def test_an_answer_of_two_queues_is_read_whole() -> None:
    ads = [{"ClusterId": 1, "GlobalJobId": "jobsub01.fnal.gov#1.0#5"}, {"ClusterId": 1, "GlobalJobId": "x-y.fnal.gov#1.0#5"}]
    assert [answers.handle_of(ad) for ad in answers.arrays(f"noise\n{printed(ads[:1])}{printed(ads[1:])}")] == [
        "1.0@jobsub01.fnal.gov",
        "1.0@x-y.fnal.gov",
    ]


def status(**ad: Any) -> tuple[Seen, str | None]:
    found = answers.status_of({"JobsubJobId": "7.1@jobsub01.fnal.gov", **ad})
    assert found.handle == "7.1@jobsub01.fnal.gov"
    return found.seen, found.ended_by


def test_a_state_is_told_from_the_ad() -> None:
    assert status(JobStatus=1) == (Seen.WAITING, None)
    assert status(JobStatus=2) == (Seen.RUNNING, None)
    assert status(JobStatus=6) == (Seen.RUNNING, None)
    assert status(JobStatus=7) == (Seen.RUNNING, None)
    assert status(JobStatus=3, RemoveReason="via condor_rm (by user dunepro)") == (Seen.RUNNING, None)
    assert status(JobStatus=3, LastJobStatus=5) == (Seen.GONE, "site")
    assert status(JobStatus="x") == (Seen.UNKNOWN, None)


def test_an_end_is_told_from_the_ad() -> None:
    assert status(JobStatus=4, ExitCode=0, ExitBySignal=False) == (Seen.GONE, None)
    assert status(JobStatus=4, ExitCode=124) == (Seen.GONE, "time_limit")
    assert status(JobStatus=4, ExitCode=255) == (Seen.GONE, None)
    assert status(JobStatus=4, ExitCode=20) == (Seen.GONE, "transient")
    assert status(JobStatus=4, ExitCode=1) == (Seen.GONE, "crashed")
    assert status(JobStatus=4, ExitBySignal=True, ExitSignal=9) == (Seen.GONE, "crashed")


@pytest.mark.parametrize(
    ("code", "reason", "ended_by"),
    [
        (4, "Job credentials are not available", "transient"),
        (12, "Transfer output files failure at execution point ... .empty_file: No such file or directory", "site"),
        (34, "Job has gone over cgroup memory limit of 2048 megabytes", "memory"),
        (26, "SYSTEM_PERIODIC_HOLD Memory/limit 2100/2000", "memory"),
        (26, "SYSTEM_PERIODIC_HOLD Disk/limit 40000/20000", "crashed"),
        (26, "SYSTEM_PERIODIC_HOLD Run Time/limit 11000/10800", "time_limit"),
        (47, "Job exceeded allowed execute duration", "time_limit"),
        (1, "via condor_hold (by user dunepro)", "lost"),
        (6, "Failed to start job", "site"),
    ],
)
def test_a_hold_has_the_class_of_its_reason(code: int, reason: str, ended_by: str) -> None:
    assert status(JobStatus=5, HoldReasonCode=code, HoldReason=reason) == (Seen.GONE, ended_by)


def test_a_running_job_tells_its_machine_and_its_site() -> None:
    ad = {"JobStatus": 2, "RemoteHost": "slot1_3@glidein_12_345@b7g13p1234.cern.ch", "MATCH_GLIDEIN_Site": "CERN"}
    found = answers.status_of(ad)
    assert (found.host, found.message) == ("b7g13p1234.cern.ch", "at CERN")


def test_of_two_jobs_of_one_attempt_the_known_one_counts() -> None:
    first = {"PPAttempt": "A", "JobsubJobId": "1.0@s", "JobStatus": 2, "QDate": 1}
    second = {"PPAttempt": "A", "JobsubJobId": "2.0@s", "JobStatus": 1, "QDate": 2}
    assert answers.by_attempt([second, first], {"A": None}) == ({"A": first}, ["2.0@s"])
    assert answers.by_attempt([second, first], {"A": "2.0@s"}) == ({"A": second}, ["1.0@s"])


def test_removals_are_counted_by_what_the_answer_names() -> None:
    out, err = "Job 1.0 marked for removal\n", "Job 2.0 not found\n"
    assert answers.not_removed(out, err, ["1.0@a", "2.0@a", "3.0@a"]) == ["3.0@a"]
