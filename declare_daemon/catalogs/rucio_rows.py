"""Whether replicas are what their file is: Rucio's row of a replica has a size and checksum of its own.

`POST /replicas` compares nothing, so that another program can leave a row with other values than the file's, and Rucio calls it available
(`add_replicas` in Rucio's `core/replica.py`). The list of a file's replicas shows the file's values; only the list of a dataset at one
storage element shows those of the rows. A dataset has ten thousand files and the list takes a millisecond for each, so it is kept, and
only what changed since is asked for.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Contents = tuple[int, str]

KEPT_LISTS = 16
# A row is believed for so long. It changes only if its replica is deleted and entered again.
BELIEVED_S = 3600.0
# The whole list is asked for again at most so often for files that it lacked (a replica that is older than its joining the dataset).
WHOLE_AGAIN_S = 300.0
# Between our clock and the server's, and between a row's time and its commit.
MARGIN_S = 900.0


@dataclass
class _List:
    """The rows of a dataset at a storage element; `began_at` is when the whole list was asked for, `asked_at` when anything was."""

    began_at: float
    asked_at: float
    rows: dict[str, Contents] = field(default_factory=dict)


class ReplicaRows:
    """Compares replicas with their files.

    `ask(dataset, rse, changed_after)`: the rows of the available replicas of the files of `dataset` at `rse`, by DID; with a time in
    seconds since the Unix epoch only those changed since.
    """

    def __init__(self, ask: Callable[[str, str, float | None], dict[str, Contents]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._lists: OrderedDict[tuple[str, str], _List] = OrderedDict()

    def agreeing(self, dataset: str, rse: str, files: Mapping[str, Contents]) -> set[str]:
        """The DIDs among `files` whose replica at `rse` has their size and checksum."""
        now = self._clock()
        known = self._lists.get((dataset, rse))
        if known is not None and now - known.began_at > BELIEVED_S:
            known = None
        if known is not None and not _all_agree(known, files):
            known.rows |= self._ask(dataset, rse, time.time() - (now - known.asked_at) - MARGIN_S)
            known.asked_at = now
        if known is None or (not files.keys() <= known.rows.keys() and now - known.began_at > WHOLE_AGAIN_S):
            known = _List(now, now, self._ask(dataset, rse, None))
        self._keep(dataset, rse, known)
        return {did for did, contents in files.items() if known.rows.get(did) == contents}

    def _keep(self, dataset: str, rse: str, known: _List) -> None:
        self._lists[dataset, rse] = known
        self._lists.move_to_end((dataset, rse))
        while len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)


def _all_agree(known: _List, files: Mapping[str, Contents]) -> bool:
    return all(known.rows.get(did) == contents for did, contents in files.items())
