"""Compares the quantities of all planes of a record with their limits at once, and says in words what is outside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboard import words
from dashboard.dqm.metrics import Group
from dashboard.dqm.scalars import PLANES
from dashboard.quality.flags import Flag
from dashboard.quality.limits import BOUNDS, Check, Limit, Limits
from dashboard.quality.quantities import PLACE, Quantity, Values

Flags = NDArray[np.int8]

# What stands in for a limit that is not given.
_OPEN = {"low_alarm": -np.inf, "low_warn": -np.inf, "high_warn": np.inf, "high_alarm": np.inf}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not good: a quantity of a plane, or of the file (then `element` is empty and `plane` None), and the limit it is outside."""

    element: str
    plane: str | None
    check: str
    group: Group
    flag: Flag
    value: float
    limit: float
    words: str


class PlaneChecks:
    """The checks of the planes of a detector in one run type, as arrays [planes, checks].

    A comparison with NaN is false, whatever the limit: what is not known is never outside, and is told apart as not judged.
    """

    def __init__(self, limits: Limits, detector: str, run_type: str) -> None:
        every = [check for check in limits.checks.values() if not check.quantity.of_file]
        found = [[check.limit_of(detector, run_type, plane) for check in every] for plane in PLANES]
        used = [place for place in range(len(every)) if any(of_plane[place] for of_plane in found)]
        self.checks: Sequence[Check] = [every[place] for place in used]
        kept = [[of_plane[place] for place in used] for of_plane in found]
        self._columns = np.array([PLACE[check.key] for check in self.checks], np.intp)
        self._applies = np.array([[limit is not None for limit in of_plane] for of_plane in kept], bool).reshape(len(PLANES), -1)
        self._bounds = {
            name: np.array([[_bound(limit, name) for limit in of_plane] for of_plane in kept], np.float32).reshape(len(PLANES), -1)
            for name in BOUNDS
        }
        self._gains = np.array([check.at_gain_mv_per_fc or np.nan for check in self.checks], np.float32)
        self.groups: Mapping[Group, NDArray[np.intp]] = {
            group: columns
            for group in Group
            if len(columns := np.flatnonzero(np.array([check.group is group for check in self.checks], bool)))
        }

    def judge(self, values: Values, gain_mv_per_fc: float | None) -> tuple[Flags, Values, Values]:
        """Flags, values and the scale of the limits of all `values` [elements, planes, quantities]: each [elements, planes, checks].

        NULL is what has no number or no limit.
        """
        mine: Values = values[:, :, self._columns]
        scale: Values = np.ones(len(self.checks), np.float32)
        if gain_mv_per_fc is not None and gain_mv_per_fc > 0:
            scaled = gain_mv_per_fc / self._gains
            scale = np.where(np.isnan(scaled), scale, scaled)
        bounds = {name: bound * scale for name, bound in self._bounds.items()}
        flags = np.full(mine.shape, Flag.GOOD, np.int8)
        flags[(mine < bounds["low_warn"]) | (mine > bounds["high_warn"])] = Flag.MEDIUM
        flags[(mine < bounds["low_alarm"]) | (mine > bounds["high_alarm"])] = Flag.BAD
        flags[np.isnan(mine) | ~self._applies] = Flag.NULL
        return flags, mine, scale

    def tile(self, flags: Flags, group: Group) -> Flag:
        """The flag of one group of an element, from its `flags` [planes, checks].

        The worst of them; but GOOD only when every plane that has a limit in the group was judged: one that is absent is not well.
        """
        columns = self.groups.get(group)
        if columns is None:
            return Flag.NULL
        of_group = flags[:, columns]
        worst = Flag(int(of_group.max()))
        if worst is Flag.GOOD:
            judged = of_group.max(axis=1) > Flag.NULL
            wanted = self._applies[:, columns].any(axis=1)
            return Flag.NULL if (wanted & ~judged).any() else Flag.GOOD
        return worst

    def findings(self, elements: Sequence[str], flags: Flags, values: Values, scale: Values) -> list[Finding]:
        """What is MEDIUM or BAD, in the order of elements, planes and checks."""
        found = []
        for row, plane, column in np.argwhere(flags >= Flag.MEDIUM).tolist():
            check, flag = self.checks[column], Flag(int(flags[row, plane, column]))
            limit = Limit(*(float(self._bounds[name][plane, column] * scale[column]) for name in BOUNDS))
            found.append(finding(check, elements[row], PLANES[plane], flag, float(values[row, plane, column]), limit))
        return found


def flag_of(value: float, limit: Limit) -> Flag:
    """The flag of one number."""
    if value != value:
        return Flag.NULL
    low_alarm, low_warn, high_warn, high_alarm = (_bound(limit, name) for name in BOUNDS)
    if value < low_alarm or value > high_alarm:
        return Flag.BAD
    return Flag.MEDIUM if value < low_warn or value > high_warn else Flag.GOOD


def finding(check: Check, element: str, plane: str | None, flag: Flag, value: float, limit: Limit) -> Finding:
    """The finding of a number that is outside its limits."""
    low, high = ("low_alarm", "high_alarm") if flag is Flag.BAD else ("low_warn", "high_warn")
    is_low = value < _bound(limit, low)
    crossed = _bound(limit, low if is_low else high)
    quantity = check.quantity
    kind = "alarm" if flag is Flag.BAD else "warning"
    text = f"{check.words} {shown(value, quantity)}, {'below' if is_low else 'above'} the {kind} limit {shown_limit(crossed, quantity)}"
    return Finding(element, plane, check.key, check.group, flag, _short(value), _short(crossed), f"{plane}: {text}" if plane else text)


def shown(value: float, quantity: Quantity) -> str:
    """A measured number as people read it, with its unit."""
    if quantity.form == "percent":
        return shown_limit(value, quantity)
    return _with_unit(words.count(value) if quantity.form == "count" else words.number(value), quantity)


def shown_limit(value: float, quantity: Quantity) -> str:
    """A number that somebody chose: with no more digits than it has."""
    if quantity.form == "percent":
        return f"{_short(100 * value):g}{words.THIN}%"
    return _with_unit(words.count(value) if abs(value) >= 1e4 else f"{_short(value):g}", quantity)


def _with_unit(text: str, quantity: Quantity) -> str:
    return f"{text}{words.THIN}{quantity.unit}" if quantity.unit else text


def _bound(limit: Limit | None, name: str) -> float:
    value = None if limit is None else getattr(limit, name)
    return _OPEN[name] if value is None else value


def _short(value: float) -> float:
    """With no more digits than single precision has a right to."""
    return float(f"{value:.5g}")
