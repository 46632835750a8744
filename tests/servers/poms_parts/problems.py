"""What goes wrong inside POMS, and what its error rewriter (webservice/poms_method.py) makes of it for the client.

The names are SQLAlchemy's: clients get to read them.
"""

from __future__ import annotations


class HTTPError(Exception):
    """An answer other than 200, decided by the method itself."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class IntegrityError(Exception):
    """The database refuses a row: a value is missing, not allowed, or there already."""


class DataError(Exception):
    """The database cannot read a value."""


class StatementError(Exception):
    """SQLAlchemy refuses a value before the database sees it."""


class NoResultFound(Exception):  # noqa: N818
    """A query for one row found none."""


class MultipleResultsFound(Exception):  # noqa: N818
    """A query for one row found several."""


def rewrite(error: Exception) -> HTTPError:
    """The status and the message of the error page."""
    match error:
        case HTTPError():
            return error
        case PermissionError():
            return HTTPError(401, repr(error))
        case TypeError():
            return HTTPError(400, repr(error))
        case KeyError():
            return HTTPError(400, f"Missing form field: {error!r}")
        case AttributeError():
            return HTTPError(400, f"Not found item: {error!r}")
        case DataError() | ValueError():
            return HTTPError(400, f"Invalid argument: {error!r}")
        case _:
            return HTTPError(400, f"Unknown error {error!r}")
