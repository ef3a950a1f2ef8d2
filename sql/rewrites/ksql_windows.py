"""FROM bids WINDOW TUMBLING (SIZE 5 MINUTES) GROUP BY auction, as ksqlDB has it, turned into GROUP BY TUMBLE(...)."""

from __future__ import annotations

from sqlglot import exp

from ...storage.errors import NotSupportedError, ProgrammingError
from ..parser_ksql import KSQL_WINDOW
from ..positions import position_of
from ..trees import every

EVENT_TIME = "event_time"  # in the meta of a name: it stands for the event time of the stream below, whatever that is
_BOUNDS = {"WINDOWSTART": "START", "WINDOWEND": "END"}


def ksql_windows(query: exp.Query) -> exp.Query:
    """`query` with each WINDOW clause as the function that it is, in GROUP BY, over the stream's event time.

    WINDOWSTART and WINDOWEND become its START and END.
    Raises: ProgrammingError for one without GROUP BY, NotSupportedError beside a join.
    """
    for select in every(query, exp.Select):
        sources = [select.args.get("from_"), *(select.args.get("joins") or ())]
        for source in sources:
            call = None if source is None else source.this.meta.pop(KSQL_WINDOW, None)
            if call is None:
                continue
            if len(sources) > 1:
                raise NotSupportedError(
                    "WINDOW beside a join is not supported",
                    hint="Put the join into a query of its own.",
                    position=position_of(call),
                )
            _rewrite(select, call)
    return query


def _rewrite(select: exp.Select, call: exp.Anonymous) -> None:
    group = select.args.get("group")
    if group is None or not group.expressions:
        raise ProgrammingError(
            "WINDOW needs GROUP BY",
            detail="It says which rows are aggregated together.",
            hint="For the rows themselves, write FROM TUMBLE(TABLE ...) or the like.",
            position=position_of(call),
        )
    time = exp.Column(this=exp.Identifier(this="ROWTIME", quoted=False))
    time.this.meta.update({**call.meta, EVENT_TIME: True})
    lengths = call.expressions
    call.set("expressions", [time, *lengths])
    for column in every(select, exp.Column):
        part = _BOUNDS.get(column.name.upper())
        if part is None or column.find_ancestor(exp.Select) is not select:
            continue
        bound = exp.Anonymous(this=f"{call.name}_{part}", expressions=[node.copy() for node in call.expressions])
        bound.meta.update(column.this.meta)
        named = column.parent is select and column.arg_key == "expressions"
        column.replace(exp.alias_(bound, column.name, quoted=True) if named else bound)
    group.append("expressions", call)
