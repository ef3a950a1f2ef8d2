"""What retention has to leave in the streams of a database, whatever their options say, until nobody needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..storage import limits
from ..storage.errors import Error

if TYPE_CHECKING:
    from .database import Database

_ALL = (0,) * limits.PARTITIONS_MAX


def needed(database: Database, topic: str) -> Sequence[int] | None:
    """By partition, from which offset on: what the queries have not taken for good; None where nobody reads anything.

    While the database is opened or closed it is all.
    """
    if database.relations.get(topic) is None:
        return _ALL
    if not (database.plans or database.queries.any or database.unnamed):
        return None
    try:
        return database.checkpointer.needed(topic)
    except (KeyError, ValueError, Error):
        return _ALL
