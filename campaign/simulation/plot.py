"""Pictures of simulations: the course of one over time, and maps of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.simulation.outcome import Outcome
from campaign.simulation.parameters import Parameters
from campaign.simulation.report import percent, sentence_of, time_text
from campaign.simulation.sweep import Axis, Point
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Told apart by people who do not see all colours (Okabe & Ito).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "svg.hashsalt": "dune-prompt",
}
_TIMES = ((2 * 3600.0, 60.0, "minutes"), (4 * 86400.0, 3600.0, "hours"), (float("inf"), 86400.0, "days"))


def plot_course(outcome: Outcome, parameters: Parameters, path: Path) -> None:
    """Four panels over one time axis: files, backlog, slots, buffer; outages shaded. PNG, SVG or PDF by the name's ending.

    Raises:
        ConfigError: matplotlib is not installed, or another ending.
    """
    matplotlib = _matplotlib(path)
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12.8, 9.6), layout="constrained")
        panels = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, 1, 1, 1]})
        _, unit_s, unit = next(item for item in _TIMES if outcome.simulated_s <= item[0])
        times = [sample.at / unit_s for sample in outcome.samples]
        _files(panels[0], outcome, times)
        _backlog(panels[1], outcome, times, unit_s)
        _slots(panels[2], outcome, parameters, times)
        _buffer(panels[3], outcome, parameters, times)
        for panel in panels:
            for number, outage in enumerate(parameters.outages):
                label = f"{outage.what} out" if panel is panels[0] and number == 0 else None
                panel.axvspan(outage.begin / unit_s, outage.end / unit_s, color=RED, alpha=0.12, lw=0, label=label)
            panel.set_xlim(0, max(times[-1], 1e-9))
            panel.set_ylim(bottom=0)
            panel.margins(y=0.12)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, borderaxespad=0.2, handlelength=1.5)
        panels[-1].set_xlabel(f"{unit} since the start")
        figure.suptitle(sentence_of(outcome), fontsize=14, fontweight="bold", x=0.01, ha="left")
        _save(figure, path)


def _files(panel: Axes, outcome: Outcome, times: Sequence[float]) -> None:
    samples = outcome.samples
    panel.stackplot(
        times,
        [sample.prompt for sample in samples],
        [sample.late for sample in samples],
        colors=[GREEN, ORANGE],
        alpha=0.75,
        labels=["processed, prompt", "processed, late"],
    )
    panel.plot(times, [sample.arrived for sample in samples], color="black", lw=1.5, label="arrived")
    panel.set_title(f"Files: {percent(outcome.fraction_prompt)} prompt")
    _count_axis(panel)


def _backlog(panel: Axes, outcome: Outcome, times: Sequence[float], unit_s: float) -> None:
    panel.fill_between(times, [sample.backlog for sample in outcome.samples], color=BLUE, alpha=0.6, lw=0, step="post")
    panel.plot([outcome.backlog_peak_at / unit_s], [outcome.backlog_peak], "o", color=RED, ms=5, clip_on=False)
    panel.set_title(f"Backlog: at most {outcome.backlog_peak:,} files wait, {time_text(outcome.backlog_peak_at)} after the start")
    _count_axis(panel)


def _slots(panel: Axes, outcome: Outcome, parameters: Parameters, times: Sequence[float]) -> None:
    samples = outcome.samples
    panel.fill_between(times, [sample.running for sample in samples], color=GREEN, alpha=0.6, lw=0, step="post", label="busy")
    panel.plot(times, [sample.in_flight for sample in samples], color=BLUE, lw=1.2, drawstyle="steps-post", label="with the batch system")
    panel.plot(times, [sample.wanted for sample in samples], color="black", lw=1.2, drawstyle="steps-post", label="wanted")
    panel.axhline(parameters.slots.max, color=GREY, lw=1, ls="--", label=f"slots.max {parameters.slots.max}")
    panel.set_title(f"Slots: {outcome.slots_mean:.0f} busy on average")


def _buffer(panel: Axes, outcome: Outcome, parameters: Parameters, times: Sequence[float]) -> None:
    panel.fill_between(times, [sample.occupancy_bytes / 1e12 for sample in outcome.samples], color=BLUE, alpha=0.4, lw=0, step="post")
    peak = outcome.occupancy_peak_bytes / 1e12
    capacity = parameters.buffer.capacity
    if capacity is not None:
        panel.axhline(capacity / 1e12, color=RED, lw=1.2, label=f"capacity {capacity / 1e12:.4g} TB")
        panel.axhline(parameters.buffer.high_water * capacity / 1e12, color=GREY, lw=1, ls="--", label="high water")
        panel.axhline(parameters.buffer.low_water * capacity / 1e12, color=GREY, lw=1, ls=":", label="low water")
    panel.set_title(f"Buffer: at most {peak:.4g} TB")
    panel.set_ylabel("TB")


def _count_axis(panel: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"))


def plot_sweep(points: Sequence[Point], axes: Sequence[Axis], path: Path) -> None:
    """The fraction prompt over one parameter (a line) or two (a map).

    Raises:
        ConfigError: matplotlib is not installed, or another ending.
    """
    matplotlib = _matplotlib(path)
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 6.5), layout="constrained")
        panel = figure.subplots()
        if len(axes) == 1:
            _line(panel, points, axes[0])
        else:
            _map(figure, panel, points, axes[0], axes[1])
        _save(figure, path)


def _line(panel: Axes, points: Sequence[Point], axis: Axis) -> None:
    values = [100 * point.outcome.fraction_prompt for point in points]
    panel.plot(range(len(values)), values, "o-", color=BLUE, lw=2)
    panel.set_xticks(range(len(values)), axis.values)
    panel.set_xlabel(axis.key)
    panel.set_ylabel("prompt, %")
    panel.set_ylim(0, 102)
    panel.set_title("Fraction of files processed in time")


def _map(figure: Figure, panel: Axes, points: Sequence[Point], down: Axis, across: Axis) -> None:
    columns = len(across.values)
    prompt = [100 * point.outcome.fraction_prompt for point in points]
    rows = [prompt[i * columns : (i + 1) * columns] for i in range(len(down.values))]
    image = panel.imshow(rows, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=100)
    panel.set_xticks(range(columns), across.values)
    panel.set_yticks(range(len(rows)), down.values)
    panel.set_xlabel(across.key)
    panel.set_ylabel(down.key)
    panel.grid(visible=False)
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            text = "100" if value == 100 else f"{int(10 * value) / 10:g}"
            panel.text(x, y, text, ha="center", va="center", fontsize=11, color="black" if value > 60 else "white")
    figure.colorbar(image, ax=panel, label="prompt, %")
    panel.set_title("Fraction of files processed in time, %")


def _matplotlib(path: Path) -> Any:
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: a plot's name ends with {', '.join(FORMATS)}")
    try:
        import matplotlib
    except ImportError:
        raise ConfigError("plots need matplotlib, which is not installed: pip install 'dune-prompt[report]'") from None
    return matplotlib


def _save(figure: Figure, path: Path) -> None:
    """Without the time of making: the same simulation gives the same bytes."""
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    figure.savefig(path, dpi=150, metadata=metadata)
