"""on_error = 'skip': a continuous query goes on without the rows on which its expressions fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from ..storage.errors import NotSupportedError, Position, ProgrammingError
from . import plan as p
from .correlation import own_conjuncts
from .dialect import position_of, twin_sql
from .early_computing import CONDITIONAL, computed_early
from .places import FAILS, PLACE
from .plan import Plan
from .plan_inputs import with_inputs
from .pushdown import is_total
from .statements import Emit, Option
from .trees import copied, every
from .types import Binder

OPTION = "on_error"
SKIP, STOP = "skip", "stop"
_MEANINGS = {SKIP: True, STOP: False}


def read_on_error(value: object, position: Position | None = None) -> bool:
    """Whether rows that fail are skipped. Raises: ProgrammingError for what is neither 'skip' nor 'stop'."""
    try:
        return _MEANINGS[str(value).lower()]
    except KeyError:
        raise ProgrammingError(
            f"cannot set {OPTION} to {value!r}",
            hint="Say 'skip', and a query goes on without the rows on which it fails; or 'stop'.",
            position=position,
        ) from None


def skips_of(options: Mapping[str, Option], position: Position | None) -> bool:
    """What WITH says of it."""
    return OPTION in options and read_on_error(options[OPTION], position)


def emit_skips(emit: Emit | None) -> bool:
    """What EMIT ... WITH says of it."""
    return emit is not None and skips_of(emit.options, emit.position)


def refuse_on_error(emit: Emit) -> None:
    """Raise where a query that is not kept would do without the rows on which it fails."""
    if OPTION in emit.options:
        raise NotSupportedError(
            f"{OPTION} belongs to a view, a derived stream or table, or a query that inserts",
            detail="Each row that they do without is told once, whatever happens, and for that the query has to last.",
            hint="CREATE MATERIALIZED VIEW with it, and read that.",
            position=emit.position,
        )


@dataclass(frozen=True)
class Screening:
    """How the rows of its input are told apart on which a map fails: those that it is `asked` about, if not `sound`.

    It is not asked about rows that a condition leaves out which cannot fail, a comparison of columns and constants.
    `likely` is true of rows on which no cast fails, and never NULL; None where there is no cast.
    """

    asked: exp.Expr | None
    sound: exp.Expr
    likely: exp.Expr | None

    @property
    def passing(self) -> exp.Expr:
        """What is true of the rows that the map can be computed of."""
        return self.sound if self.asked is None else exp.and_(self.asked, self.sound, copy=True)


def screening(plan: p.Map) -> Screening:
    """TRY is NULL where what it is about fails, and a row of values never is.

    Where the filter is not true the values do not count.
    """
    conditions = list(own_conjuncts(plan.where))
    total = [condition for condition in conditions if is_total(condition, plan.input.columns)]
    others = [twin_sql(condition) for condition in conditions if condition not in total]
    values = [twin_sql(item) for _, item in plan.items if not isinstance(item, exp.Column)]
    sound = f"TRY(ROW({', '.join(values)})) IS NOT NULL" if values else "TRUE"
    if others:
        where = f"CAST(({' AND '.join(f'({other})' for other in others)}) AS BOOLEAN)"
        sound = f"TRY(ROW({where})) IS NOT NULL AND (TRY({where}) IS NOT TRUE OR {sound})"
    casts = [cast for value in (*conditions, *(item for _, item in plan.items)) for cast in _casts(value)]
    return Screening(
        exp.and_(*total, copy=True) if total else None,
        sqlglot.parse_one(sound, read="duckdb"),
        exp.and_(*dict.fromkeys(map(_succeeds, casts))) if casts else None,
    )


def _casts(value: exp.Expr) -> Iterator[exp.Cast]:
    """The casts that every row goes through."""
    if isinstance(value, CONDITIONAL):
        return
    if type(value) is exp.Cast:
        yield value
    for part in value.iter_expressions():
        yield from _casts(part)


def _succeeds(cast: exp.Cast) -> exp.Expr:
    """That a cast gives a value where it is given one."""
    inner, outer = (copied(each).transform(_tried) for each in (cast.this, cast))
    return exp.or_(exp.Is(this=inner, expression=exp.Null()), exp.Not(this=exp.Is(this=outer, expression=exp.Null())))


def _tried(node: exp.Expr) -> exp.Expr:
    return exp.TryCast(**node.args) if type(node) is exp.Cast else node


def skipping(query: exp.Query, plan: Plan, binder: Binder) -> Plan:
    """The same plan, whose lowest maps skip what they fail on; the tables of the numbered `query` are marked so.

    Raises: NotSupportedError where one table of the text is read in several ways, which fail on several rows.
    """
    plan = computed_early(plan, binder)
    tables = {table.meta[PLACE]: table for table in every(query, exp.Table) if PLACE in table.meta}
    ways: dict[int, str] = {}
    for source, node in _lowest(plan):
        table = None if source.place is None else tables.get(source.place)
        condition = screening(node).passing if isinstance(node, p.Map) and may_fail(node) else None
        way = "" if condition is None else twin_sql(condition)
        if table is None or source.place is None:
            if condition is None:
                continue
            raise _unclear(_name(source), None)
        if ways.setdefault(source.place, way) != way:
            raise _unclear(_name(source), table)
        if condition is not None:
            table.meta[FAILS] = condition
    return _skipping(plan)


def _lowest(plan: Plan) -> Iterator[tuple[p.Scan | p.ViewScan, Plan]]:
    """What is read, each with the node right above it."""
    for node in p.nodes(plan):
        for below in p.inputs_of(node):
            source = below.input if isinstance(below, p.Late) else below
            if isinstance(source, p.Scan | p.ViewScan) and not isinstance(node, p.Late):
                yield source, node


def _skipping(plan: Plan) -> Plan:
    changed = with_inputs(plan, [_skipping(below) for below in p.inputs_of(plan)])
    if isinstance(changed, p.Map) and may_fail(changed):
        source = changed.input.input if isinstance(changed.input, p.Late) else changed.input
        if isinstance(source, p.Scan | p.ViewScan):
            return p.SkippingMap(changed.input, changed.items, changed.where, changed.columns, _name(source))
    return changed


def may_fail(plan: p.Map) -> bool:
    """Whether there may be a row that it fails on."""
    computes = any(not isinstance(item, exp.Column) for _, item in plan.items)
    return computes or (plan.where is not None and not is_total(plan.where, plan.input.columns))


def skips(plan: Plan) -> bool:
    """Whether something is left out where it fails."""
    return any(isinstance(node, p.SkippingMap) for node in p.walk(plan))


def unskipped(plan: Plan, *, asked: bool) -> list[str]:
    """What to say to the person who asked for it."""
    if not asked:
        return []
    notes = []
    for node in p.nodes(plan):
        if isinstance(node, p.Recompute):
            notes.append(f"{OPTION} says nothing of recompute ({node.reason}): a row on which it fails stops the query")
    if not skips(plan):
        notes.append(f"{OPTION} says nothing here: no expression over the rows that are read can fail")
    return list(dict.fromkeys(notes))


def _name(source: p.Scan | p.ViewScan) -> str:
    return source.stream if isinstance(source, p.Scan) else source.view


def _unclear(name: str, table: exp.Table | None) -> NotSupportedError:
    return NotSupportedError(
        f'cannot skip rows of "{name}" here',
        detail="The query reads it in several ways, and what fails in the one does not in the other.",
        hint=f"CREATE MATERIALIZED VIEW with {OPTION} = 'skip' that computes what may fail, and read that.",
        position=None if table is None else position_of(table),
    )
