"""A daemon that kills itself with SIGKILL at one point: `python killed_daemon.py SITE POINT`.

Points are before and after each commit of the store and each call of a catalogue. If it is not killed it prints how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from declare_daemon.catalogs import Catalogs, OpenCatalog, open_catalogs
from declare_daemon.daemon import Daemon
from dune_prompt.settings import load_site
from dune_prompt.store import Store, open_store


class Points:
    """Counts what is passed; at one of them the process is gone."""

    def __init__(self, last: int) -> None:
        self.passed, self._last, self._lock = 0, last, Lock()

    def point(self) -> None:
        with self._lock:
            if self.passed == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.passed += 1


class CountedStore(Store):
    points: Points

    @contextmanager
    def write(self) -> Iterator[Any]:
        with super().write() as connection:
            yield connection
            self.points.point()
        self.points.point()


class Counted:
    """A catalogue with a point before and after each call."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner, self._points, self.name = inner, points, inner.name

    def __getattr__(self, method: str) -> Any:
        function = getattr(self._inner, method)

        def call(*arguments: Any, **keywords: Any) -> Any:
            self._points.point()
            answer = function(*arguments, **keywords)
            self._points.point()
            return answer

        return call


def main(site_file: str, last: str) -> None:
    site, points = load_site(Path(site_file)), Points(int(last))
    store = CountedStore(open_store(site.store_url).engine)
    store.points = points
    with closing(open_catalogs(site)) as opened:
        counted = {}
        for item in opened.all:
            for part in item.parts:
                counted[id(part)] = Counted(part, points)
        catalogs = Catalogs(
            tuple(
                OpenCatalog(item.kind, counted.get(id(item.metadata)), counted.get(id(item.replicas)), item.gives_fid, item.places)
                for item in opened.all
            )
        )
        with closing(Daemon(site, store, catalogs)) as daemon:
            daemon.once(0.1)
    print(points.passed)


if __name__ == "__main__":
    main(*sys.argv[1:])
