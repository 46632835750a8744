"""The payload `larsoft` beside a set-up script and a `lar` that behave as the real ones do, at their worst too."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import ConfigError
from dune_prompt.records import Report, read_json
from stages import job
from stages.nf_sp.larsoft.art_log import ArtLog
from stages.nf_sp.larsoft.exit_codes import EXIT_CODES, check_exit
from stages.nf_sp.larsoft.settings import LarsoftSettings
from stages.stage import Payload
from templates import larsoft as rendering
from templates.fhicl import fhicl
from templates.payloads import payload_files
from tests.stages.conftest import assignment_of

GOLDEN = Path(__file__).parent / "golden"
Ran = Callable[..., tuple[Report, int]]

REPORT = """
TrigReport ---------- Event summary -------------
TrigReport Events total = 2 passed = 2 failed = 0
TimeReport CPU = 12.500000 Real = 13.250000
MemReport  VmPeak = 2500.12 VmHWM = 1800.5
Art has completed and will exit with status 0.
"""
EXCEPTION = """
%MSG-s ArtException:  PostEndJob 20-Jun-2024
---- OtherArt BEGIN
  ---- ProductNotFound BEGIN
    no raw::RawDigit with label tpcrawdecoder
  ---- ProductNotFound END
---- OtherArt END
"""


def settings_of(setup: Path | str = "/cvmfs/setup.sh", **own: Any) -> dict[str, Any]:
    larsoft = {
        "setup": str(setup),
        "release": "v09_91_02d01",
        "qualifiers": "e26:prof",
        "fcl": "standard_reco_stage1_protodunehd_keepup.fcl",
        "overrides": {"physics.producers.x.verbose": 0},
        "elec_gain_path": "physics.producers.wclsdatahdfilter.wcls_main.structs.elecGain",
        "what": "reco_stage1",
        "container": None,
        "bind": [],
        "stream": False,
        "timeout": 60.0,
    }
    return {"payload": "larsoft", "gain_mV_per_fC": 14.0, "larsoft": larsoft | own}


@pytest.fixture
def ran(raw_file: Path, tmp_path: Path) -> Ran:
    """nf_sp with a `lar` that is the given shell script; its options are in $fcl, $input and $output."""

    def run(lar: str, *, stages: str = "nf_sp", places: tuple[str, ...] = (), setup: str = "", **own: Any) -> tuple[Report, int]:
        products = tmp_path / "prod ucts"
        products.mkdir(exist_ok=True)
        program = products / "lar"
        options = "while [ $# -gt 0 ]; do case $1 in -c) fcl=$2;; -s) input=$2;; -o) output=$2;; esac; shift 2; done"
        program.write_text(f"#!/bin/bash\n{options}\n{lar}\n")
        program.chmod(0o755)
        script = tmp_path / "set up.sh"
        # As UPS: variables that are not set, commands that fail, and a function called setup.
        function = f'setup() {{ PATH={shlex.quote(str(products))}:$PATH; echo "setup $*"; {setup or ":"}; }}'
        script.write_text(f'[ -z "$NEVER_SET" ] || exit 9\nfalse\n{function}\n')
        settings = settings_of(own.pop("script", script), **own)
        outputs = {"namespace": "hd-protodune-det-reco", "data_tier": "full-reconstructed"}
        payload = Payload("pdhd-prompt", "v1", "pdhd", "0" * 64, "0.1", outputs, {"nf_sp": settings}, payload_files("pdhd", settings))
        assignment = assignment_of(raw_file, tmp_path / "out", *stages.split(","))
        if places:
            assignment = replace(assignment, raw=replace(assignment.raw, places=(*places, str(raw_file))))
        return job.walk(assignment, payload)

    return run


GOOD = f'printf \'root%s\' "$(head -c 10 "$input" | wc -c)" > "$output"; cat <<\'E\'\n{REPORT}\nE'


def test_a_good_lar_makes_an_output_with_name_sidecar_and_digest(ran: Ran, tmp_path: Path) -> None:
    report, exit_code = ran(GOOD, stages="nf_sp,declare,evaluate")
    assert exit_code == 0, report
    stage = report.stages[0]
    assert [(output.name.rpartition("_v1_")[2], output.declared) for output in stage.outputs] == [
        ("reco_stage1.root", True),
        ("log.gz", False),
        ("quality.json", False),
    ]
    assert (tmp_path / "out" / stage.outputs[0].name).read_bytes() == b"root10"
    sidecar = read_json(tmp_path / "out" / f"{stage.outputs[0].name}.json")["metadata"]
    assert sidecar["core.file_format"] == "artroot"
    assert sidecar["dune.workflow"]["release"] == "v09_91_02d01"
    assert len(sidecar["dune.workflow"]["fcl_sha256"]) == 64
    assert sidecar["dune.workflow"]["attempt"]
    assert {key: stage.metrics[key] for key in ("events_total", "events_passed", "lar_cpu_s", "lar_rss_mb")} == {
        "events_total": 2,
        "events_passed": 2,
        "lar_cpu_s": 12.5,
        "lar_rss_mb": 1800.5,
    }
    with gzip.open(tmp_path / "out" / stage.outputs[1].name, "rt") as log:
        assert "setup dunesw v09_91_02d01 -q e26:prof" in log.read()


def test_the_job_file_is_the_experiments_with_the_campaigns_changes(ran: Ran, tmp_path: Path) -> None:
    _, exit_code = ran(GOOD + f"\ncp \"$fcl\" '{tmp_path}/seen.fcl'", overrides={"a.b": 'say "hi"\\', "c[0]": [1, 2.5, True, None]})
    assert exit_code == 0
    lines = (tmp_path / "seen.fcl").read_text().splitlines()[1:]
    assert lines == [
        '#include "standard_reco_stage1_protodunehd_keepup.fcl"',
        'a.b: "say \\"hi\\"\\\\"',
        "c[0]: [1, 2.5, true, @nil]",
        "physics.producers.wclsdatahdfilter.wcls_main.structs.elecGain: 14.0",
    ]


@pytest.mark.parametrize(
    ("code", "error_class"), [(9, "configuration"), (16, "data"), (20, "site"), (65, "payload"), (68, "memory"), (77, "payload")]
)
def test_an_exit_code_has_a_class_and_the_log_says_why(ran: Ran, code: int, error_class: str, tmp_path: Path) -> None:
    report, _ = ran(f"cat <<'E'\n{EXCEPTION}\nE\nexit {code}")
    assert report.stages[0].error_class == error_class
    if error_class != "memory":
        assert f"lar ended with {code}" in str(report.stages[0].message)
        assert "no raw::RawDigit with label tpcrawdecoder" in str(report.stages[0].message)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("lar", "error_class", "message"),
    [
        ("true", "data", "made no output"),
        (': > "$output"', "data", "made no output"),
        ('echo HDF > "$output"', "data", "is no ROOT file"),
        (GOOD.replace("total = 2 passed = 2", "total = 1 passed = 1"), "data", "lar read 1 events, the raw file has 2"),
        (GOOD.replace("failed = 0", "failed = 1"), "data", "lar failed on 1 of 2 events"),
        ("kill -SEGV $$", "payload", "lar ended with 139 (SIGSEGV)"),
        ("kill -KILL $$", "site", "lar was killed"),
    ],
)
def test_a_lar_that_fails_quietly_is_noticed(ran: Ran, lar: str, error_class: str, message: str) -> None:
    report, _ = ran(lar)
    assert report.stages[0].error_class == error_class
    assert message in str(report.stages[0].message)


def test_one_that_hangs_is_ended_and_one_that_floods_its_log_is_not_kept_whole(ran: Ran, tmp_path: Path) -> None:
    report, _ = ran("sleep 300", timeout=1)
    assert report.stages[0].error_class == "time_limit"
    report, exit_code = ran("yes 0123456789 | head -c 20000000;" + GOOD)
    assert exit_code == 0
    assert (tmp_path / "out" / report.stages[0].outputs[1].name).stat().st_size < 100_000


@pytest.mark.parametrize(
    ("own", "message"),
    [({"script": "/no/such/setup.sh"}, "is CVMFS mounted on this worker?"), ({"setup": "return 1"}, "could not be set up")],
)
def test_a_worker_without_larsoft_is_the_sites_trouble(ran: Ran, own: dict[str, str], message: str) -> None:
    report, exit_code = ran(GOOD, **own)
    assert (report.stages[0].error_class, exit_code) == ("site", 20)
    assert message in str(report.stages[0].message)


def test_only_what_is_read_over_the_network_has_xrootd_preloaded(ran: Ran, tmp_path: Path) -> None:
    seen = f"echo \"$LD_PRELOAD $input\" >> '{tmp_path}/seen'; export LD_PRELOAD=; "
    made = 'printf root > "$output"'
    remote = "root://eos.cern.ch//eos/raw.hdf5"
    libraries = f"export XROOTD_LIB='{tmp_path}/lib'"
    assert ran(seen + made, setup=libraries)[1] == 0
    assert ran(seen + made, setup=libraries, stream=True, places=(remote,))[1] == 0
    local, streamed = (tmp_path / "seen").read_text().splitlines()
    assert local.startswith(" /")
    assert streamed == f"{tmp_path}/lib/libXrdPosixPreload.so {remote}"


def test_the_files_are_the_golden_ones() -> None:
    for name, text in payload_files("pdhd", settings_of()).items():
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("RENEW_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\n")))
def test_no_value_breaks_out_of_the_script(value: str) -> None:
    script = rendering.files("pdhd", settings_of(setup="/" + value))["larsoft.sh"]
    done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = next(line for line in script.split("\n") if line.startswith("setup_script="))
    shown = subprocess.run(["bash", "-c", f'{line}\nprintf %s "$setup_script"'], capture_output=True, check=True)
    assert shown.stdout.decode() == "/" + value


@given(st.text(st.characters(min_codepoint=32, blacklist_categories=("Cs",))))
def test_a_text_in_fhicl_ends_where_it_ends(value: str) -> None:
    written = fhicl(value)
    inner = written[1:-1].replace("\\\\", "").replace('\\"', "")
    assert (written[0], written[-1]) == ('"', '"')
    assert '"' not in inner
    assert not inner.endswith("\\")


@pytest.mark.parametrize("value", ["two\nlines", float("nan"), {"a b": 1}, object()])
def test_what_fhicl_cannot_have_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"FHiCL|control characters"):
        fhicl(value)


def test_tables_nest() -> None:
    assert fhicl({"a": [1, {"b": False}], "c": "x"}) == '{ a: [1, { b: false }] c: "x" }'


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"release": "09; rm -rf /"}, "release '09; rm -rf /'"),
        ({"fcl": "../x.fcl"}, "fcl '../x.fcl': the name of a job file"),
        ({"qualifiers": "e26 prof"}, "qualifiers"),
        ({"what": "quality"}, "what 'quality'"),
        ({"setup": "setup.sh"}, "setup 'setup.sh'"),
        ({"bind": ["x"]}, "bind"),
        ({"container": "x"}, "container 'x'"),
    ],
)
def test_wrong_settings_are_named(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", "\\(")):
        LarsoftSettings.of(settings_of(**own))


def test_without_settings_the_payload_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="needs release and fcl"):
        LarsoftSettings.of({"payload": "larsoft"})


def test_the_log_of_a_lar_that_died_in_an_exception_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("---- FileReadError BEGIN\n  TBasket::ReadBasketBuffers failed\n")
    assert ArtLog.read(tmp_path / "log").exception == "FileReadError: TBasket::ReadBasketBuffers failed"
    (tmp_path / "log").write_text("nothing of interest\n")
    assert ArtLog.read(tmp_path / "log") == ArtLog()


def test_every_exit_code_raises_and_0_does_not() -> None:
    check_exit(0, "")
    for code, known in EXIT_CODES.items():
        with pytest.raises(known.raises, match=known.says[:20].replace("(", "\\(")):
            check_exit(code, "why")
