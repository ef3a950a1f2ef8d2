"""The twin of a query with on_error = 'skip': what it reads is without the rows on which it fails."""

from __future__ import annotations

from sqlglot import exp

from .places import FAILS
from .trees import copied, every


def leave_out_failing(query: exp.Query) -> None:
    """Let marked tables of `query` be without the rows on which it fails.

    OFFSET keeps DuckDB from asking anything else of a row first.
    """
    for table in [table for table in every(query, exp.Table) if FAILS in table.meta]:
        rows = exp.select(exp.Star()).from_(exp.Table(this=table.this)).where(copied(table.meta[FAILS]))
        rows = rows.offset(0)
        rows.meta[FAILS] = True
        inner = rows.args["from_"].this
        inner.meta.update({name: value for name, value in table.meta.items() if name != FAILS})
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        table.replace(exp.Subquery(this=rows, alias=alias.copy(), joins=table.args.get("joins")))
