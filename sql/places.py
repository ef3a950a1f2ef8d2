"""Which table or join of a query's text a part of its plan comes from, so that the twin can be told what it means."""

from __future__ import annotations

from sqlglot import exp

from ..engine.windows import Moments
from . import plan as p
from .plan import Plan
from .trees import every

PLACE = "place"  # in the metadata of a table or join: its number, through all copies of it
BEHIND = "behind"  # of a table: the time that must not be behind the watermark
ENDING = "ending"  # of a join: the bound by which rows without a partner come when none can come any more
TEMPORAL = "temporal"  # of an ASOF join: that it was FOR SYSTEM_TIME AS OF a time, so that watermarks bound it
LOOKUP = "lookup"  # of a join: where it says FOR SYSTEM_TIME AS OF the present, which is never revised
TIES = "ties"  # of an ASOF join: columns that choose among versions of one time, and what tells versions apart
FAILS = "fails"  # of a table: what is true of the rows on which the query does not fail
SETTLED = "settled"  # of an ASOF join that is final: the left row's time, and how long after it its version is settled


def number_places(query: exp.Query) -> None:
    """Number the tables and joins of `query`."""
    for place, node in enumerate(every(query, exp.Table, exp.Join)):
        node.meta[PLACE] = place


def forget_places(query: exp.Query) -> None:
    """Take the numbers away: no join over `query` is then bound in time."""
    for node in every(query, exp.Table, exp.Join):
        node.meta.pop(PLACE, None)


def told_apart(plan: Plan) -> bool:
    """Whether late rows of each table in the text are left out wherever `plan` reads it, or nowhere."""
    bound = [node.input for node in p.walk(plan) if isinstance(node, p.Late) and isinstance(node.window, Moments)]
    places = {scan.place for scan in bound}
    scans = [node for node in p.walk(plan) if isinstance(node, p.Scan) and node.place in places]
    return not bound or len(scans) == len(bound)


def mark_places(query: exp.Query, plan: Plan) -> None:
    """Mark those tables of the numbered `query` whose late rows `plan` leaves out, and joins that end."""
    places = {node.meta[PLACE]: node for node in every(query, exp.Table, exp.Join) if PLACE in node.meta}
    for node in p.walk(plan):
        match node:
            case p.Late(window=Moments()) if node.input.place is not None:
                places[node.input.place].meta[BEHIND] = node.time
            case p.Join(final=True) if node.place is not None:
                places[node.place].meta[ENDING] = node.bounds[0]
            case p.AsofJoin():
                places[node.place].meta[TIES] = node.ties, node.versions
                if node.final:
                    places[node.place].meta[SETTLED] = node.rule.left, node.rule.needed
            case _:
                pass
