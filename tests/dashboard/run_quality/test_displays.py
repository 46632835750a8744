"""The event displays: which there are, what they span, what their colours mean."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from stages.evaluate.pictures import _DIVERGING


@pytest.fixture
def shown(look: Any, filled: Any) -> Any:
    return lambda **chosen: look(file=filled.name(filled.bad), element="P02NL", **({"plane": "V"} | chosen))


def test_pictures_are_plain_images_in_order(client: Any, shown: Any, filled: Any) -> None:
    section = shown().section("displays")
    images = [image.attributes for image in section.every("img")]
    assert [image["alt"] for image in images] == [f"P02NL V, trigger record 1: {kind}" for kind in ("raw", "nf", "sp")]
    for image in images:
        answer = client.get(image["src"])
        assert answer.status_code == 200
        assert answer.content.startswith(b"\x89PNG")
    axes = filled.plane(filled.bad, "P02NL", "V")["channels"]
    assert f"channels {axes['first']} to {axes['first'] + 799} from left to right, 5 824 ticks of 512" in section.text


def test_the_colours_are_those_of_the_picture_with_limits_and_unit(shown: Any) -> None:
    raw, _, sp = shown().section("displays").every(cls="colours")
    assert raw.text == "-160 160 ADC"
    assert sp.text == "0 2400 e/tick"
    fills = [rect.attributes["fill"] for rect in raw.every("rect")]
    assert fills[0] == "#{:02x}{:02x}{:02x}".format(*_DIVERGING[0])
    assert fills[-1] == "#{:02x}{:02x}{:02x}".format(*_DIVERGING[-1])
    assert fills[len(fills) // 2] == "#ffffff"


def test_trigger_record_and_plane_can_be_chosen(shown: Any) -> None:
    section = shown(record="2").section("displays")
    assert [link.text for link in section.one("nav").every("a")] == ["record 1", "record 2"]
    assert section.one("nav").one("a", **{"aria-current": "true"}).text == "record 2"
    assert all("trigger record 2" in image.attributes["alt"] for image in section.every("img"))
    assert all("_W_" in image.attributes["src"] for image in shown(plane="W").section("displays").every("img"))


def test_a_plane_without_displays_says_so(shown: Any) -> None:
    assert "This file has no event display of P02NL U" in shown(plane="U").one(id="no-displays").text


def test_a_file_without_displays_leads_to_the_nearest_that_has_some(look: Any, filled: Any) -> None:
    section = look(file=filled.name(filled.bad + 40), element="P02NL", plane="V").one(id="no-displays")
    assert f"file={filled.name(filled.bad)}" in section.one("a").attributes["href"]
    # None is near enough to the latest file.
    assert not look(element="P02NL", plane="V").one(id="no-displays").has("a")


def test_pictures_that_have_not_come_are_told(look: Any, filled: Any, put: Any, good_record: Any) -> None:
    content = good_record(27507, 0)
    content["pictures"] = [
        {"name": f"a_{kind}.png", "title": kind, "element": "P02SU", "plane": "W", "kind": kind, "record": 3}
        for kind in ("raw", "nf", "sp")
    ]
    put(content)
    assert "are listed in the record, but none has come" in look(27507).one(id="no-displays").text
    grey = BytesIO()
    Image.new("L", (4, 4)).save(grey, "PNG")
    put(content, {"a_nf.png": grey.getvalue()})
    section = look(27507).section("displays")
    assert section.one(id="pictures-missing").text == "2 of 3 pictures have not come"
    assert [image.attributes["alt"] for image in section.every("img")] == ["nf"]
    assert section.text.count("this picture has not come") == 2
    # It tells neither axes nor colours: older records do not.
    assert not section.has(cls="colours")


def test_parts_of_a_split_readout_are_told_apart(look: Any, put: Any, good_record: Any) -> None:
    content = good_record(27508, 0)
    content["pictures"] = [
        {
            "name": f"a_{sequence}.png",
            "title": f"part {sequence}",
            "element": "P02SU",
            "plane": "W",
            "kind": "raw",
            "record": 3,
            "sequence": sequence,
        }
        for sequence in (0, 1)
    ]
    put(content, {picture["name"]: b"\x89PNG\r\n\x1a\n" for picture in content["pictures"]})
    assert [image.attributes["alt"] for image in look(27508).section("displays").every("img")] == ["part 0"]
    assert [image.attributes["alt"] for image in look(27508, record="3.1").section("displays").every("img")] == ["part 1"]
