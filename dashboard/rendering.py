"""Renders the pages of one site: one Jinja environment with autoescape, and static files whose address changes with their content."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from dashboard import words
from dune_prompt import __version__
from dune_prompt.settings import Site

ROOM = Path(__file__).parent
STATIC = ROOM / "static"


class Pages:
    """The templates of `pages/` for one site.

    Every address in them begins with `base`: the path people reach the service at (that of `service.url`), empty where it is the root.
    """

    def __init__(self, site: Site) -> None:
        self.base = urlsplit(site.service.base_url).path.rstrip("/")
        self._environment = _environment()
        self._environment.globals |= {
            "base": self.base,
            "static": lambda name: self.base + static(name),
            "site": site.site,
            "version": __version__,
            "read_only": site.service.read_only,
            "poms": any(launcher.kind == "poms" for launcher in site.launchers),
            "signs": words.SIGNS,
            "flags": words.FLAGS,
        }

    def page(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page that a browser asks for again each time."""
        return HTMLResponse(self.render(template, **values), status, {"Cache-Control": "no-cache"})

    def render(self, template: str, **values: Any) -> str:
        """The text of a template of `pages/`."""
        return self._environment.get_template(template).render(**values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOM / "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "count": words.count,
        "number": words.number,
        "plain": words.plain,
        "percent": words.percent,
        "size": words.size,
        "duration": words.duration,
        "clock": words.clock,
        "moment": words.moment,
        "data": data,
    }
    return environment


def data(value: Any) -> Markup:
    """`value` as JSON that may stand in a `<script type="application/json">`: nothing in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped for a script


@cache
def static(name: str) -> str:
    """The address of a static file under the service's root, with a part of its hash: browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"
