"""FOR SYSTEM_TIME AS OF: a join with the version that was there at a row's time, as the ASOF join that it is."""

from __future__ import annotations

from sqlglot import exp

from ..storage.errors import NotSupportedError, ProgrammingError
from .places import LOOKUP, TEMPORAL
from .positions import position_of
from .relations import VERSIONS_SUFFIX, Relation, Relations
from .temporal import has_clock, is_clock
from .trees import every
from .version_rows import VersionRows, version_rows

VERSIONS = "versions"  # in the metadata of a table: the query whose rows are its versions

_EXAMPLE = "It looks like FROM orders AS o JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.currency = r.currency."


def join_versions(query: exp.Query, relations: Relations) -> None:
    """Turn each join of `query` with a table as of a time into an ASOF join by its event time.

    Raises: ProgrammingError or NotSupportedError, at its place, where it says no version.
    """
    for version in every(query, exp.Version):
        table = version.parent
        join = table.parent if table is not None else None
        if not isinstance(table, exp.Table) or not isinstance(join, exp.Join) or table is not join.this:
            raise NotSupportedError(
                "a relation can only be read as of a time where it is joined",
                detail=_EXAMPLE,
                position=position_of(version),
            )
        _check_join(join, version)
        relation = relations.require(table.name, position_of(table) or position_of(table.this))
        version.pop()
        if is_clock(version.expression):
            join.meta[LOOKUP] = position_of(version)
            continue
        join.set("method", "ASOF")
        join.meta[TEMPORAL] = True
        rows = _rows_of(relation, relations, version)
        if rows.key:
            _check_keys(join, relation, rows, version)
        if rows.query is not None:
            table.meta[VERSIONS] = rows.query
        elif rows.log:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(relation.name + VERSIONS_SUFFIX, quoted=True))
        time = exp.column(exp.to_identifier(rows.time, quoted=True), table=table.alias_or_name)
        is_there = exp.GTE(this=version.expression.copy(), expression=time)
        join.set("on", exp.and_(join.args["on"], is_there, copy=False))


def refuse_lookups(query: exp.Expr) -> None:
    """Raise at a lookup where a query is run again: what was once found would then be revised."""
    join = next((join for join in every(query, exp.Join) if LOOKUP in join.meta), None)
    if join is not None:
        raise NotSupportedError(
            "cannot look up what is there when a row comes in a query that is recomputed",
            hint="Make the join a view of its own, of plain columns, and the rest of the query another one over it.",
            position=join.meta[LOOKUP],
        )


def _check_join(join: exp.Join, version: exp.Version) -> None:
    position = position_of(version)
    kind = (join.method.upper(), join.side.upper(), join.kind.upper())
    if kind[0] or kind[1] not in ("", "LEFT") or kind[2] not in ("", "INNER", "OUTER"):
        raise NotSupportedError(
            "a join with versions is JOIN or LEFT JOIN",
            detail="Each row of the left finds the version that was there at its time.",
            position=position,
        )
    if not join.args.get("on"):
        raise ProgrammingError("a join with versions needs ON with its keys", detail=_EXAMPLE, position=position)
    moment = version.expression
    if has_clock(moment) and not is_clock(moment):
        raise NotSupportedError(
            "cannot join with versions of a time that the clock says",
            hint="Take a column of the left, such as o.ts, or PROCTIME() for what is there when a row comes.",
            position=position,
        )


def _rows_of(relation: Relation, relations: Relations, version: exp.Version) -> VersionRows:
    rows = version_rows(relation, relations)
    if rows is not None:
        return rows
    detail = "Nothing says from when on its rows hold: a stream has a WATERMARK, and a view the one time it passes on."
    hint = "Write the changes into a stream, and join with that or with a view of the last row of each key."
    if relation.kind == "TABLE":
        detail = "It has no WATERMARK, which would say what column has the time from which on a row holds."
    raise NotSupportedError(
        f'"{relation.name}" has no versions to join with', detail=detail, hint=hint, position=position_of(version)
    )


def _check_keys(join: exp.Join, relation: Relation, rows: VersionRows, version: exp.Version) -> None:
    """Raise where ON asks for other columns of the last row of each key than for the key."""
    table = join.this.alias_or_name.lower()
    asked = {
        side.name.lower()
        for condition in every(join.args["on"], exp.EQ, exp.NullSafeEQ)
        for side in (condition.this, condition.expression)
        if isinstance(side, exp.Column) and side.table.lower() in ("", table) and relation.column(side.name)
    }
    if asked != {name.lower() for name in rows.key}:
        raise NotSupportedError(
            f'a version of "{relation.name}" is found by its key',
            detail=f"It has the last row of each ({', '.join(rows.key)}).",
            hint="Compare these columns in ON, and others in WHERE.",
            position=position_of(version),
        )
