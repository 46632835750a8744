"""New work with a real MetaCat as the catalogue that answers: draining of its datasets, and steps that stay short whatever it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from campaign.draining.answers import PATIENCE_S
from campaign.draining.background import LINGER_S, Background
from campaign.engine.intake import Intake
from declare_daemon.catalogs import open_catalogs
from declare_daemon.catalogs.metacat import MetacatCatalog
from tests.campaign.draining.installation import MADE_BY, NOW, SITE, Small, child, eventually, raw
from tests.declare_daemon.catalogs.metacat_world import World, catalog, ns, world

__all__ = ["catalog", "ns", "world"]  # fixtures


@pytest.fixture
def small(world: World, ns: str, tmp_path: Path) -> Iterator[Small]:
    token = tmp_path / "token"
    token.write_text(world.server.token("dunepro"))
    metacat = f"{{kind: metacat, url: '{world.proxy.url}/app', auth_url: '{world.server.auth_url}', auth: token, user: dunepro, "
    small = Small.at(tmp_path, inputs=f"{{datasets: ['{ns}:run_*']}}", site=f"{SITE}catalogs: [{metacat}token_file: {token}}}]\n")
    yield small
    small.close()


@pytest.fixture
def open_intake(small: Small) -> Iterator[Callable[[], Intake]]:
    """Its thread looks at the datasets from the start, so it is opened when they are as they should be."""
    opened: list[Intake] = []

    def start() -> Intake:
        opened.append(Intake(small.installation, small.write))
        return opened[-1]

    yield start
    for intake in opened:
        intake.close(30.0)


def test_open_files_of_a_run_are_drained_and_done_ones_are_not(
    world: World, ns: str, catalog: MetacatCatalog, small: Small, open_intake: Callable[[], Intake]
) -> None:
    catalog.declare([raw(index, namespace=ns) for index in range(3)], f"{ns}:run_1")
    world.server.add_dataset(f"{ns}:evaluated")
    made = child(raw(1, namespace=ns), MADE_BY)
    catalog.declare([type(made)(ns, made.name, 10, made.adler32, made.metadata, made.parents)], f"{ns}:evaluated")
    intake = open_intake()
    eventually(lambda: intake.take_in(NOW))
    assert [task.input_did for task in small.tasks()] == [raw(0, namespace=ns).did, raw(2, namespace=ns).did]
    assert all(health.ok for health in intake.health())


def test_a_server_that_is_silent_makes_no_step_long_and_keeps_no_file_from_going_in(world: World, small: Small) -> None:
    world.proxy.silence(times=None)
    clock = [0.0]
    truth = small.installation.catalogs.truth
    background = Background(truth.name, lambda: open_catalogs(small.installation.site).truth, clock=lambda: clock[0], linger_s=LINGER_S)
    intake = Intake(small.installation, small.write, answers=background)
    small.journal(3)
    assert intake.take_in(NOW) == 0
    clock[0] += PATIENCE_S
    assert intake.take_in(NOW + PATIENCE_S) == 3
    assert not background.health().ok
    world.proxy.clear()
    intake.close()
    background.close(0.0)


@pytest.mark.parametrize("status", [500, 401])
def test_an_error_of_the_server_and_a_token_it_does_not_accept_are_outages(
    world: World, small: Small, open_intake: Callable[[], Intake], status: int
) -> None:
    world.proxy.reply(status, times=None)
    small.journal(1)
    intake = open_intake()
    assert eventually(lambda: intake.take_in(NOW)) == 1
    assert any(str(status) in str(health.message) for health in intake.health())
