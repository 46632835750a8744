"""What p3s kept, taken over: its keys that drifted, its numbers in texts, its pictures by APA and plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dashboard.dqm.p3s import read_p3s
from dashboard.dqm.record import read_record
from dashboard.dqm.tables import result_table
from dune_prompt.cli.dqm import command
from dune_prompt.errors import DataError

SIX = "1.50,0.00,3.25,0.00,0.00,7.00"


def summary(**changes: Any) -> dict[str, Any]:
    content = {
        **{f"Plane {plane} Mean {what}": SIX for plane in "UVZ" for what in ("NHits", "of Charge", "of Hit RMS")},
        "NDead  Channels": "2432,2560,2560,2560,2560,   0",
        "NNoisy Channels 6Sigma away from mean value of the ADC RMS": " 128,   0,   0,   0,   0,   0",
        "NNoisy Channels Above ADC RMS Threshold": "  71,   0,   0,   0,   0,   0",
        "run": "run003611_0001_dl05",
        "TimeStamp": "Thu Aug 23 21:03:34 2018",
        "Type": "monitor",
        "APA": "1, 2, 3, 4, 5, 6",
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def write(folder: Path, *entries: Any, name: str = "run003611_0001_tpcmonitor_summary.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(list(entries)))
    return path


def test_a_summary_becomes_a_record(tmp_path: Path) -> None:
    (imported,) = read_p3s(write(tmp_path, summary()))
    record = read_record(json.dumps(imported.record).encode())
    assert (record.run, record.file_index, record.detector, record.campaign, record.version) == (3611, 1, "pdsp", "p3s", "monitor")
    assert record.made_at == 1535058214.0
    assert [element.element for element in record.elements] == [f"APA{n}" for n in range(1, 7)]
    assert [plane.plane for plane in record.elements[2].planes] == ["U", "V", "W"]
    assert record.elements[2].planes[2].hits == 3.25
    assert record.elements[2].planes[2].n_dead is None
    assert any("dead channels: APA1 2432, APA2 2560" in note for note in record.notes)
    assert imported.record["p3s"] == summary()


@pytest.mark.parametrize(
    ("changes", "apas"),
    [
        ({"Type": None}, 6),
        ({"NNoisy Channels Above ADC RMS Threshold": None, "NNoisy Channels Above ADC RMS Threshold(40)": "1,2,3,4,5,6"}, 6),
        ({"APA": "APA1, APA2, APA3, APA4, APA5, APA6"}, 6),
        ({"run": "run001837_001"}, 6),
        ({"APA": None} | {key: None for key in summary() if "," in str(summary()[key])}, 0),
    ],
)
def test_what_has_drifted_is_read_too(tmp_path: Path, changes: dict[str, Any], apas: int) -> None:
    (imported,) = read_p3s(write(tmp_path, summary(**changes)))
    assert len(read_record(json.dumps(imported.record).encode()).elements) == apas


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "3611"}, "object 0: run '3611': expected run<number>_<file>"),
        ({"TimeStamp": None}, "TimeStamp"),
        ({"TimeStamp": "yesterday"}, "yesterday"),
        ({"Plane U Mean NHits": "1,2,3"}, "Plane U Mean NHits: 3 numbers for 6 APAs"),
        ({"Plane U Mean NHits": "a,b,c,d,e,f"}, "could not convert"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, summary(**changes))
    with pytest.raises(DataError) as refused:
        list(read_p3s(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(lambda v: json.dumps(v).encode())
)
def test_anything_else_is_refused_not_crashed_on(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.json"
    path.write_bytes(content)
    try:
        assert list(read_p3s(path)) == []
    except DataError as error:
        assert str(path) in str(error)


def picture_list(folder: Path, *names: str) -> Path:
    files = {"Hit RMS per APA": ",".join(names)}
    return write(folder, {"Category": "Hit Monitor", "Files": files}, name="run003611_0001_tpcmonitor_FileList.json")


def test_pictures_belong_to_an_apa_and_a_plane(tmp_path: Path) -> None:
    lists = picture_list(tmp_path, "run003611_HitRMSAPAZ3.png", "run003611_fRMSViewU6prof.png", "run003611_all.png")
    (imported,) = read_p3s(write(tmp_path, summary()), lists)
    record = read_record(json.dumps(imported.record).encode())
    assert [(p.element, p.plane, p.kind) for p in record.pictures] == [("APA3", "W", "hit-rms-per-apa"), ("APA6", "U", "hit-rms-per-apa")]


def test_a_picture_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="letters, digits"):
        list(read_p3s(write(tmp_path, summary()), picture_list(tmp_path, "../../APAZ3.png")))


def test_the_command_takes_over_once_and_goes_on_after_a_bad_file(tmp_path: Path, make_png: Any) -> None:
    site = tmp_path / "site.yaml"
    (tmp_path / "buffer").mkdir()
    site.write_text(
        f"site: here\nworkspace: {tmp_path}/workspace\nbuffer: {{path: {tmp_path}/buffer, capacity: 1TB}}\n"
        "streams: [{name: physics, pattern: '*.hdf5', process: true}]\n"
    )
    good, bad = write(tmp_path, summary()), write(tmp_path, {"run": "x"}, name="bad_summary.json")
    picture_list(tmp_path, "run003611_HitRMSAPAZ3.png", "run003611_HitRMSAPAU3.png")
    (tmp_path / "run003611_HitRMSAPAZ3.png").write_bytes(make_png())

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(command, ["import-p3s", "--site", str(site), *arguments])

    assert "0 taken over" in call("--dry-run", str(good)).output
    first = call(str(good), str(bad))
    assert isinstance(first.exception, DataError)
    assert "1 taken over, 0 known already, 1 files could not be read" in first.output
    assert "0 taken over, 1 known already, 0 files" in call(str(good)).output
    from dune_prompt.settings import load_site
    from dune_prompt.store import open_store

    store = open_store(load_site(site).store_url)
    with store.read() as connection:
        (row,) = connection.execute(sa.select(result_table)).all()
    store.close()
    assert row.pictures_missing == ["run003611_HitRMSAPAU3.png"]
    assert (tmp_path / "workspace" / row.folder / "run003611_HitRMSAPAZ3.png").is_file()
