"""`dune-prompt campaign simulate`: what if? Before the beam comes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dune_prompt.cli.options import json_option, print_table, site_option

if TYPE_CHECKING:
    from campaign.simulation.defaults import Source
    from campaign.simulation.parameters import Parameters
    from campaign.simulation.sweep import Point


@click.command()
@site_option
@json_option
@click.option(
    "--parameters", "parameters_path", type=click.Path(dir_okay=False, path_type=Path), help="parameters file; default: see below"
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="set a parameter, such as rate=3GB/s or slots.max=800; repeatable"
)
@click.option("--rate", help="data rate while files come, such as 3GB/s")
@click.option("--slots", "slots_max", type=click.IntRange(min=1), help="jobs allowed at most (slots.max)")
@click.option("--for", "duration", help="how long files come, such as 7d")
@click.option("--seed", type=int, help="another seed, another luck")
@click.option(
    "--outage", "outages", multiple=True, metavar="WHAT:BEGIN:END[:JOBS]", help="such as batch:2d:2.5d or catalogue:1h:2h; repeatable"
)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=24, show_default=True, help="how far back the ledger is read")
@click.option("--sweep", "sweeps", multiple=True, metavar="KEY=FROM:TO:STEP", help="simulate each value; one or two of them")
@click.option(
    "--find", "wanted_of", type=click.Choice(["slots", "rate", "launcher-slots"]), help="look for what is just enough for --prompt"
)
@click.option("--prompt", default="99%", show_default=True, help="fraction prompt that --find has to reach")
@click.option("--resources", "only_resources", is_flag=True, help="slots, core-hours, memory, disk and network for the rate; no simulation")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="picture to write (.png, .svg, .pdf)")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="simulations of a sweep at once")
@click.option("--write-parameters", type=click.Path(dir_okay=False, path_type=Path), help="write the parameters to this file, and simulate")
@click.pass_context
def command(
    context: click.Context,
    site_path: Path,
    as_json: bool,
    parameters_path: Path | None,
    settings: Sequence[str],
    rate: str | None,
    slots_max: int | None,
    duration: str | None,
    seed: int | None,
    outages: Sequence[str],
    hours: float,
    sweeps: Sequence[str],
    wanted_of: str | None,
    prompt: str,
    only_resources: bool,
    plot: Path | None,
    workers: int,
    write_parameters: Path | None,
) -> None:
    """What if? Simulate arrivals, batch system and buffer, with the policies of the engine.

    Without --parameters the site file, the campaigns and the ledger's last hours give the parameters; what none of them tells is assumed,
    and the output says so. Nothing is changed anywhere.
    """
    from campaign.simulation.parameters import as_yaml, changed, load_parameters

    if sum(map(bool, (sweeps, wanted_of, only_resources))) > 1:
        raise click.UsageError("use one of --sweep, --find and --resources")
    sources: list[Source] = []
    if parameters_path is not None:
        parameters = load_parameters(parameters_path)
    else:
        parameters, sources = _defaults(context, site_path, hours)
    values: dict[str, Any] = dict(_setting(text) for text in settings)
    values |= {
        key: value for key, value in (("rate", rate), ("slots.max", slots_max), ("for", duration), ("seed", seed)) if value is not None
    }
    if slots_max is not None and slots_max < parameters.slots.min:
        values["slots.min"] = slots_max
    if outages:
        values["outages"] = [_outage(text, parameters) for text in outages]
    if values:
        parameters = changed(parameters, values)
        sources = _without(sources, values)
    if write_parameters is not None:
        write_parameters.write_text(as_yaml(parameters), "utf-8")
    if only_resources:
        _print_resources(parameters, sources, as_json)
    elif sweeps:
        _print_sweep(parameters, sources, sweeps, plot, workers, as_json)
    elif wanted_of is not None:
        _print_answer(parameters, sources, wanted_of, prompt, as_json)
    else:
        _print_outcome(parameters, sources, plot, as_json)


def _defaults(context: click.Context, site_path: Path, hours: float) -> tuple[Parameters, list[Source]]:
    """From the site, if there is one: a named one must exist."""
    from click.core import ParameterSource

    from campaign.definition import load_campaigns
    from campaign.simulation.defaults import defaults
    from campaign.simulation.measured import measure
    from declare_daemon.checks.database import open_current
    from dune_prompt.settings import load_site

    if not site_path.exists() and context.get_parameter_source("site_path") is ParameterSource.DEFAULT:
        return defaults()
    site = load_site(site_path)
    campaigns = [item.settings for item in load_campaigns(site, site_path)]
    measured = {}
    if (store := open_current(site.store_url)) is not None:
        try:
            with store.read() as connection:
                measured = {
                    (item.campaign, item.version): measure(connection, item.campaign, item.version, time.time(), hours)
                    for item in campaigns
                }
        finally:
            store.close()
    return defaults(site, campaigns, measured)


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: write it as KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise click.UsageError(f"--set {text}: {value!r} is not YAML") from None


def _outage(text: str, parameters: Parameters) -> dict[str, str]:
    """`batch` means the first launcher, whatever its name is."""
    what, *rest = text.split(":")
    if not 2 <= len(rest) <= 3:
        raise click.UsageError(f"--outage {text}: write it as WHAT:BEGIN:END, such as batch:2d:2.5d, or WHAT:BEGIN:END:lost")
    if what == "batch":
        what = parameters.launchers[0].name
    return {"what": what} | dict(zip(("begin", "end", "jobs"), rest, strict=False))


def _without(sources: Sequence[Source], values: dict[str, Any]) -> list[Source]:
    """The sources, with what was set by hand said to be so."""
    from campaign.simulation.defaults import Source
    from campaign.simulation.parameters import place_of

    places = {place_of(key): value for key, value in values.items()}
    kept = [item for item in sources if not any(f"{place}.".startswith(f"{item.key}.") for place in _both_rates(places))]
    return [*kept, *(Source(place, str(value), "set") for place, value in places.items())]


def _both_rates(places: dict[str, Any]) -> list[str]:
    return [*places, *(place.replace("files_per_s", "rate") for place in places if place.endswith(".files_per_s"))]


def _print_sources(sources: Sequence[Source]) -> None:
    if sources:
        click.echo()
        click.echo("with:")
        print_table([asdict(item) for item in sources], as_json=False)


def _print_outcome(parameters: Parameters, sources: Sequence[Source], plot: Path | None, as_json: bool) -> None:
    from campaign.simulation.report import lines_of, sentence_of
    from campaign.simulation.run import simulate

    outcome = simulate(parameters)
    if plot is not None:
        from campaign.simulation.plot import plot_course

        plot_course(outcome, parameters, plot)
    if as_json:
        _print_json(parameters, sources, {"outcome": outcome.to_json()})
        return
    click.echo(sentence_of(outcome))
    print_table(lines_of(outcome, parameters), as_json=False)
    if len(outcome.runs) > 1:
        click.echo()
        rows = [{"run": run, "files": files, "prompt": prompt / files} for run, files, prompt in outcome.runs]
        print_table(rows, as_json=False)
    _print_sources(sources)


def _print_resources(parameters: Parameters, sources: Sequence[Source], as_json: bool) -> None:
    from campaign.simulation.report import lines_of_resources
    from campaign.simulation.resources import resources

    needed = resources(parameters)
    if as_json:
        _print_json(parameters, sources, {"resources": [item.to_json() for item in needed]})
        return
    for item in needed:
        print_table(lines_of_resources(item), as_json=False)
    _print_sources(sources)


def _print_sweep(
    parameters: Parameters, sources: Sequence[Source], sweeps: Sequence[str], plot: Path | None, workers: int, as_json: bool
) -> None:
    from rich.console import Console
    from rich.progress import track

    from campaign.simulation.sweep import parse_axis, sweep

    axes = [parse_axis(text) for text in sweeps]
    count = 1
    for axis in axes:
        count *= len(axis.values)
    todo = sweep(parameters, axes, workers=min(workers, os.cpu_count() or 1))
    shown = Console(stderr=True)
    points: list[Point] = list(track(todo, "simulating", total=count, console=shown, disable=as_json or not shown.is_terminal))
    if plot is not None:
        from campaign.simulation.plot import plot_sweep

        plot_sweep(points, axes, plot)
    if as_json:
        rows = [{"values": point.values, "outcome": point.outcome.to_json(samples=False)} for point in points]
        _print_json(parameters, sources, {"sweep": rows})
        return
    print_table([point.row() for point in points], as_json=False)
    _print_sources(sources)


def _print_answer(parameters: Parameters, sources: Sequence[Source], what: str, prompt: str, as_json: bool) -> None:
    from campaign.simulation.report import answer_in_words
    from campaign.simulation.sweep import find
    from dune_prompt.settings.units import parse_fraction

    try:
        wanted = parse_fraction(prompt)
    except ValueError as error:
        raise click.UsageError(f"--prompt: {error}") from None

    def tell(value: float, enough: bool) -> None:
        click.echo(f"  {value:.6g}: {'enough' if enough else 'not enough'}", err=True)

    answer = find(parameters, what, wanted, tell=(lambda _value, _enough: None) if as_json else tell)
    words = answer_in_words(answer, parameters)
    if as_json:
        content = {"find": what, "wanted": wanted, "value": answer.value, "answer": words}
        _print_json(parameters, sources, content | {"tried": [{"value": value, "enough": enough} for value, enough in answer.tried]})
        return
    click.echo(words)
    _print_sources(sources)


def _print_json(parameters: Parameters, sources: Sequence[Source], content: dict[str, Any]) -> None:
    head = {"parameters": parameters.model_dump(mode="json", exclude_none=True), "sources": [asdict(item) for item in sources]}
    click.echo(json.dumps(content | head, indent=1))
