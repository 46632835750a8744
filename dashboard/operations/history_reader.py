"""The history as the page shows it, read and drawn once for everybody who looks at the same window."""

from __future__ import annotations

import threading

from dashboard.operations.history import History, HistoryWindow, read_history
from dashboard.rendering import Pages, data
from dune_prompt.errors import TransientError
from dune_prompt.settings.site import BufferSettings
from dune_prompt.store import Store

# A window is read again after half of its interval, and after half a minute at most.
FRESH, FRESH_AT_MOST_S = 0.5, 30.0
DRAWN = (
    "arrived_per_s",
    "processed_per_s",
    "fraction_in_time",
    "running",
    "queued",
    "slots_wanted",
    "backlog",
    "late",
    "buffer_fraction",
)


class HistoryReader:
    """Reads the samples of a window. Safe to call from several threads; they share what was read lately."""

    def __init__(self, store: Store, buffer: BufferSettings) -> None:
        self._store, self._marks = store, (buffer.low_water, buffer.high_water)
        self._lock = threading.Lock()
        self._histories: dict[str, tuple[float, History]] = {}
        self._parts: dict[str, tuple[History, str]] = {}

    def read(self, window: HistoryWindow, now: float) -> History:
        """The history up to now; while the store is away, what was read last.

        Raises:
            TransientError: the store is away, and this window was never read.
        """
        with self._lock:
            read_at, history = self._histories.get(window.name, (0.0, None))
            if history is not None and 0 <= now - read_at < min(FRESH * window.interval_s, FRESH_AT_MOST_S):
                return history
            try:
                with self._store.read() as connection:
                    fresh = read_history(connection, window, now, self._marks)
            except TransientError:
                if history is None:
                    raise
                return history
            self._histories[window.name] = (now, fresh)
            return fresh

    def part(self, pages: Pages, window: HistoryWindow, now: float) -> str:
        """The charts' part of the page: a table of the numbers, and the data to draw."""
        history = self.read(window, now)
        drawn, text = self._parts.get(window.name, (None, ""))
        if drawn is not history:
            text = pages.render("parts/history.html", history=history, window=window, charts_data=data(_drawn(history)))
            self._parts[window.name] = (history, text)
        return text


def _drawn(history: History) -> dict[str, object]:
    """What the charts need, with no more digits than they show."""
    columns = {name: [None if value is None else float(f"{value:.4g}") for value in history.columns[name]] for name in DRAWN}
    return {
        "window": history.window,
        "begin": history.begin,
        "interval_s": history.interval_s,
        "marks": [history.low_water, history.high_water],
        "columns": columns,
    }
