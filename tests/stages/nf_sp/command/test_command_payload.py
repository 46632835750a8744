"""The payload `command`: programs that keep the contract, and programs that do not."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dune_prompt.errors import ConfigError
from dune_prompt.records import Report, read_json
from stages.nf_sp.command.settings import CommandSettings

Ran = Callable[..., tuple[Report, int]]


@pytest.fixture
def ran(walk: Any, tmp_path: Path) -> Ran:
    """nf_sp with a shell script as its program; `input`, `output` and `report` are its arguments."""

    def run(script: str, *, stages: str = "nf_sp", folder: str = "out", **changes: Any) -> tuple[Report, int]:
        program = tmp_path / "bin" / "my reco's program"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\nset -eu\ninput=$1; output=$2; report=$3\n{script}\n")
        program.chmod(0o755)
        own = {"run": [str(program), "{input}", "{output}", "{report}"], "outputs": {"reco": "reco_*.root"}} | changes
        return walk(*stages.split(","), settings={"nf_sp": {"payload": "command", "command": own}}, folder=folder)  # type: ignore[no-any-return]

    return run


GOOD = """
head -c 100 "$input" > "$output/reco_1.root"
echo '{"metrics": {"hits": 12, "what": "all", "payload": "mine"}, "notes": ["a note"]}' > "$report"
echo working
"""


def test_a_good_program_makes_outputs_with_names_and_sidecars(ran: Ran, raw_file: Path, tmp_path: Path) -> None:
    report, exit_code = ran(GOOD, stages="nf_sp,declare,evaluate")
    assert exit_code == 0, report
    stage = report.stages[0]
    assert [(output.name.rpartition("_")[2], output.declared) for output in stage.outputs] == [
        ("reco.root", True),
        ("log.gz", False),
        ("quality.json", False),
    ]
    assert (tmp_path / "out" / stage.outputs[0].name).read_bytes() == raw_file.read_bytes()[:100]
    sidecar = read_json(tmp_path / "out" / f"{stage.outputs[0].name}.json")
    assert sidecar["metadata"]["core.file_format"] == "root"
    assert (stage.metrics["hits"], stage.metrics["what"], stage.metrics["payload"]) == (12, "all", "command")
    with gzip.open(tmp_path / "out" / stage.outputs[1].name, "rt") as log:
        assert log.read() == "working\n"
    record = next(output.name for output in report.stages[2].outputs if output.name.endswith("metrics.json"))
    assert "a note" in read_json(tmp_path / "out" / record)["notes"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("code", "error_class"), [(10, "data"), (20, "transient"), (30, "configuration"), (40, "conflict"), (1, "payload"), (77, "payload")]
)
def test_the_exit_code_tells_the_class_and_the_last_lines_why(ran: Ran, code: int, error_class: str, tmp_path: Path) -> None:
    report, exit_code = ran(f"echo the disk of the magnet is upside down >&2; exit {code}")
    assert report.stages[0].error_class == error_class
    assert "the disk of the magnet is upside down" in str(report.stages[0].message)
    assert exit_code == (code if code in {10, 20, 30, 40} else 1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("true", "output reco: one file reco_*.root expected in the output folder, found none"),
        ('echo a > "$output/reco_1.root"; echo b > "$output/reco_2.root"', "found reco_1.root, reco_2.root"),
        (': > "$output/reco_1.root"', "reco_1.root is empty"),
        ('ln -s /etc/passwd "$output/reco_1.root"', "reco_1.root is no plain file"),
        ('mkdir "$output/reco_1.root"', "reco_1.root is no plain file"),
        (GOOD + 'echo "{" > "$report"', "no JSON"),
        (GOOD + "echo '[1]' > \"$report\"", "an object with metrics and notes"),
        (GOOD + 'echo \'{"files": []}\' > "$report"', "files"),
        (GOOD + 'echo \'{"metrics": {"../x": 1}}\' > "$report"', "metric '../x'"),
        (GOOD + 'echo \'{"metrics": {"x": NaN}}\' > "$report"', "metric x: a finite number"),
        (GOOD + 'echo \'{"metrics": {"x": [1]}}\' > "$report"', "metric x"),
        (GOOD + 'echo \'{"notes": "x"}\' > "$report"', "notes must be a list"),
        (GOOD + 'rm "$report"; ln -s /etc/passwd "$report"', "the report is no plain file"),
        (GOOD + 'head -c 2000000 /dev/zero > "$report"', "more than 1000000 bytes"),
        ("kill -SEGV $$", "was killed by signal 11"),
    ],
)
def test_a_broken_contract_is_the_payloads_fault_and_nothing_is_left(ran: Ran, script: str, message: str, tmp_path: Path) -> None:
    report, exit_code = ran(script)
    assert (exit_code, report.stages[0].error_class) == (1, "payload")
    assert message in str(report.stages[0].message)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def test_a_program_that_hangs_is_ended_with_its_children(ran: Ran, tmp_path: Path) -> None:
    report, exit_code = ran(f"sleep 300 & echo $! > {tmp_path}/pid; wait", timeout=1)
    assert (exit_code, report.stages[0].error_class) == (20, "time_limit")
    assert "did not end within 1 s" in str(report.stages[0].message)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("a child of the program is still there")


def test_a_program_that_is_not_there_is_the_sites_trouble(walk: Any) -> None:
    own = {"run": ["/no/such/program"], "outputs": {"reco": "x"}}
    report, exit_code = walk("nf_sp", settings={"nf_sp": {"payload": "command", "command": own}})
    assert (exit_code, report.stages[0].error_class) == (20, "site")


def test_the_jobs_environment_does_not_reach_the_program(ran: Ran, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("BEARER_TOKEN_FILE", "/tmp/token")
    _, exit_code = ran(GOOD + f"env > {tmp_path}/env", environment={"MY_SETTING": "a b"})
    assert exit_code == 0
    variables = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert variables["MY_SETTING"] == "a b"
    assert not {"SECRET_TOKEN", "BEARER_TOKEN_FILE", "PYTHONPATH"} & set(variables)
    assert variables["HOME"].startswith(str(tmp_path / "out"))


def test_a_flood_of_output_is_not_kept(ran: Ran, tmp_path: Path) -> None:
    report, exit_code = ran(GOOD + "yes 0123456789 | head -c 30000000; echo the end")
    assert exit_code == 0
    with gzip.open(tmp_path / "out" / report.stages[0].outputs[1].name) as log:
        text = log.read()
    assert len(text) < 1_100_000
    assert text.endswith(b"the end\n")
    assert text.startswith(b"[the first ")


def test_arrays_that_are_not_whole_are_bad_data(ran: Ran) -> None:
    report, exit_code = ran('echo PK > "$output/a.npz"', outputs={"gauss": "a.npz"})
    assert (exit_code, report.stages[0].error_class) == (10, "data")
    assert "a.npz: not a frame file" in str(report.stages[0].message)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (None, "needs run"),
        ({"run": "prog", "outputs": {"a": "b"}}, "run 'prog': a list"),
        ({"run": [], "outputs": {"a": "b"}}, r"run \[\]"),
        ({"run": ["p", "{secret}"], "outputs": {"a": "b"}}, "no placeholder 'secret'; there are input"),
        ({"run": ["p", "{input.__class__}"], "outputs": {"a": "b"}}, "no placeholder"),
        ({"run": ["p", "{"], "outputs": {"a": "b"}}, "write {{ for a brace"),
        ({"run": ["p"]}, "outputs None: at least one"),
        ({"run": ["p"], "outputs": {"A": "b"}}, "outputs 'A'"),
        ({"run": ["p"], "outputs": {"quality": "b"}}, "not quality"),
        ({"run": ["p"], "outputs": {"a": "../b"}}, "without folders"),
        ({"run": ["p"], "outputs": {"a": "b"}, "environment": {"A-B": "c"}}, "environment"),
        ({"run": ["p"], "outputs": {"a": "b"}, "timeout": 0}, "timeout 0"),
    ],
)
def test_wrong_settings_are_named(own: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CommandSettings.of({"command": own})


def test_placeholders_are_filled_in_inside_of_arguments() -> None:
    own = {"run": ["p", "--in={input}", "{{not}}", "{gain}"], "outputs": {"a": "b"}}
    values = {"input": "/a b/{x}", "output": "", "report": "", "detector": "pdhd", "gain": "7.8", "cpus": "1"}
    assert CommandSettings.of({"command": own}).command(values) == ["p", "--in=/a b/{x}", "{not}", "7.8"]


def test_the_example_of_the_guide_is_twenty_lines_and_works(walk: Any, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[4] / "docs" / "payloads.md").read_text()
    source = guide.partition("``` { .python title=occupancy }\n")[2].partition("```")[0]
    assert 5 < len(source.splitlines()) <= 20
    program = tmp_path / "occupancy"
    program.write_text(source)
    program.chmod(0o755)
    own = {"run": ["python3", str(program), "{input}", "{output}", "{report}"], "outputs": {"occupancy": "occupancy.csv"}}
    path = f"{Path(os.__file__).parents[2]}/bin"
    own["environment"] = {"PATH": f"{Path(__import__('sys').executable).parent}:{path}:{os.environ['PATH']}"}
    report, exit_code = walk("nf_sp", settings={"nf_sp": {"payload": "command", "command": own}})
    assert exit_code == 0, report
    assert report.stages[0].metrics["records"] == 2
    assert report.stages[0].outputs[0].name.endswith("_occupancy.csv")
    json.dumps(report.stages[0].metrics)
