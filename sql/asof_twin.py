"""Twins of ASOF joins: of versions of one time the greatest is taken, and a final one has the rows that are settled."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from .dialect import twin_sql
from .join_twin import watermark_below
from .places import SETTLED, TIES
from .trees import every
from .types import quote


def settle_versions(query: exp.Query, closed: Mapping[str, int] | None) -> None:
    """Leave one version of each time in the marked joins of `query`, and with `closed` the left rows it settles."""
    for join in [join for join in every(query, exp.Join) if TIES in join.meta]:
        right = join.this
        ties, versions = join.meta[TIES]
        order = ", ".join(f"{quote(name)} DESC NULLS LAST" for name in ties)
        source = twin_sql(right)
        rows: exp.Expr = exp.maybe_parse(
            f"SELECT * FROM {source} "
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(versions)} ORDER BY {order}) = 1",
            dialect="duckdb",
        )
        _replace(right, rows)
        if closed is not None and SETTLED in join.meta:
            select = join.parent
            assert isinstance(select, exp.Select)
            left = select.args["from_"].this
            watermark = watermark_below((left, right), closed)
            name, needed = join.meta[SETTLED]
            column = f"{quote(left.alias_or_name)}.{quote(name.removeprefix(f'{left.alias_or_name}.'))}"
            rows = exp.maybe_parse(
                f"SELECT * FROM {twin_sql(left)} WHERE epoch_us({column}) + {needed} <= {watermark}", dialect="duckdb"
            )
            _replace(left, rows)


def _replace(source: exp.Expr, rows: exp.Expr) -> None:
    alias = exp.TableAlias(this=exp.to_identifier(source.alias_or_name, quoted=True))
    source.replace(exp.Subquery(this=rows, alias=alias))
