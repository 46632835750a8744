"""Everything rendered with Jinja: one environment, undefined names are errors, every value in a script is quoted.

`shquote` quotes a value for the shell, `pyquote` for Python, `fhicl` for art's job files, `jsonquote` for
JSON and jsonnet.
"""

from __future__ import annotations

import json
import shlex
from pprint import pformat
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from templates.fhicl import fhicl
from templates.submit_quote import submit_quote, submit_words
from templates.systemd_quote import systemdarg, systemdpath, systemdquote

_environment = Environment(  # noqa: S701 - scripts, not HTML: values pass through shquote or pyquote
    loader=PackageLoader("templates", "."),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
_environment.filters["shquote"] = lambda value: shlex.quote(str(value))
_environment.filters |= {"systemdarg": systemdarg, "systemdpath": systemdpath, "systemdquote": systemdquote}
_environment.filters |= {"submit_quote": submit_quote, "submit_words": submit_words}
_environment.filters["fhicl"] = fhicl
_environment.filters["jsonquote"] = json.dumps
_environment.filters["pyquote"] = lambda value: pformat(value, width=120)


def render(template: str, **values: Any) -> str:
    """The text of `template` with `values`.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not given.
    """
    return _environment.get_template(template).render(**values)
