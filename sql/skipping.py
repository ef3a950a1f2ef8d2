"""on_error = 'skip': a continuous query goes on without the rows on which its expressions fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp

from ..storage.errors import NotSupportedError, Position, ProgrammingError
from . import plan as p
from .correlation import own_conjuncts
from .dialect import twin_sql
from .early_computing import CONDITIONAL, computed_early, failing_items, may_fail
from .places import FAILS, PLACE
from .plan import Plan
from .plan_inputs import with_inputs
from .pushdown import as_they_are, is_total
from .relations import Column
from .statements import Emit, Option
from .trees import copied, every
from .types import Binder

OPTION = "on_error"
_MEANINGS = {"skip": True, "stop": False}


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


_Ways = tuple[dict[str, exp.Expr], dict[str, Column]]  # what is true of rows that pass, by text, and what it reads


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
        """What is true of the rows that the map does not fail on: it can be computed of them, or leaves them out."""
        if self.asked is None:
            return self.sound
        return exp.or_(exp.not_(exp.Is(this=exp.paren(self.asked), expression=exp.true())), self.sound, copy=True)


def screening(plan: p.Map) -> Screening:
    """TRY is NULL where what it is about fails, and a row of values never is.

    Where the filter is not true the values do not count.
    """
    conditions = list(own_conjuncts(plan.where))
    total = [condition for condition in conditions if is_total(condition, plan.input.columns)]
    others = [twin_sql(condition) for condition in conditions if condition not in total]
    values = [twin_sql(item) for item in failing_items(plan)]
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
    inner, outer = _tried(cast.this), _tried(cast)
    return exp.or_(exp.Is(this=inner, expression=exp.Null()), exp.Not(this=exp.Is(this=outer, expression=exp.Null())))


def _tried(value: exp.Expr) -> exp.Expr:
    """The same with TRY_CAST for every cast in it."""
    value = copied(value)
    for cast in [cast for cast in reversed(every(value, exp.Cast)) if type(cast) is exp.Cast]:
        tried = exp.TryCast(**cast.args)
        if cast is value:
            return tried
        cast.replace(tried)
    return value


def skipping(query: exp.Query, plan: Plan, binder: Binder) -> Plan:
    """The same plan, whose lowest maps skip what they fail on; the tables of the numbered `query` are marked so.

    A table of the text that is read in several ways is without the rows on which any of them fails.
    """
    plan = computed_early(plan, binder)
    tables = {table.meta[PLACE]: table for table in every(query, exp.Table) if PLACE in table.meta}
    ways: dict[int, _Ways] = {}
    alone: dict[int, list[exp.Expr]] = {}  # what is true of the rows that are computed of, if it is read in one way
    for source, node in _lowest(plan):
        if isinstance(node, p.Map) and may_fail(node):
            if source.place is None or source.place not in tables:
                raise _unclear(_name(source))
            screen = screening(node)
            condition = screen.passing
            alone[source.place] = [screen.sound] if screen.asked is None else [screen.asked, screen.sound]
            conditions, columns = ways.setdefault(source.place, ({}, {}))
            conditions[twin_sql(condition)] = condition
            columns.update((column.name, column) for column in source.columns)
    for place, (conditions, _) in ways.items():
        tables[place].meta[FAILS] = exp.and_(
            *(alone[place] if len(conditions) == 1 else conditions.values()), copy=True
        )
    return _skipping(plan, ways)


def _lowest(plan: Plan) -> Iterator[tuple[p.Scan | p.ViewScan, Plan]]:
    """What is read, each with the node right above it."""
    for node in p.walk(plan):
        for below in p.inputs_of(node):
            source = _read(below)
            if isinstance(source, p.Scan | p.ViewScan) and not isinstance(node, p.Late):
                yield source, node


def _read(plan: Plan) -> Plan:
    """What a map is over, late rows told apart or not."""
    return plan.input if isinstance(plan, p.Late) else plan


def _skipping(plan: Plan, ways: Mapping[int, _Ways]) -> Plan:
    inputs = []
    for below in p.inputs_of(plan):
        source = _read(below)
        read = isinstance(source, p.Scan | p.ViewScan) and source.place in ways
        read = read and not isinstance(plan, p.Map | p.Late | p.Changelog)
        inputs.append(_skipping(p.Map(below, as_they_are(below.columns), None, below.columns) if read else below, ways))
    changed = with_inputs(plan, inputs)
    if isinstance(changed, p.Map):
        source = _read(changed.input)
        if isinstance(source, p.Scan | p.ViewScan):
            return _lowest_map(changed, source, *ways.get(-1 if source.place is None else source.place, ({}, {})))
    return changed


def _lowest_map(
    plan: p.Map, source: p.Scan | p.ViewScan, conditions: Mapping[str, exp.Expr], columns: Mapping[str, Column]
) -> p.Map:
    """The map, which skips what it fails on and leaves out what others fail on that read the same table of the text."""
    fails = may_fail(plan)
    own = screening(plan)
    others = [condition for text, condition in conditions.items() if not fails or text != twin_sql(own.passing)]
    if not fails and not others:
        return plan
    below = plan.input
    if others:
        read = {column.name for column in source.columns}
        below = _reading(below, tuple(column for name, column in columns.items() if name not in read))
    left = exp.and_(*others, copy=True) if others else None
    return p.SkippingMap(below, plan.items, plan.where, plan.columns, _name(source), left)


def _reading(plan: Plan, more: tuple[Column, ...]) -> Plan:
    """What is read, and those columns as well."""
    match plan:
        case p.Late():
            return replace(plan, input=replace(plan.input, columns=(*plan.input.columns, *more)))
        case p.Scan() | p.ViewScan():
            return replace(plan, columns=(*plan.columns, *more))
        case _:
            raise AssertionError(plan)


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
        notes.append(f"{OPTION} says nothing here: no expression over rows of what is read alone can fail")
    return list(dict.fromkeys(notes))


def _name(source: p.Scan | p.ViewScan) -> str:
    return source.stream if isinstance(source, p.Scan) else source.view


def _unclear(name: str) -> NotSupportedError:
    return NotSupportedError(
        f'cannot skip rows of "{name}" here',
        detail="The query reads it in several ways, and what fails in the one does not in the other.",
        hint=f"CREATE MATERIALIZED VIEW with {OPTION} = 'skip' that computes what may fail, and read that.",
    )
