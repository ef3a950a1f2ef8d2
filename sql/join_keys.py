"""What an index can find partners by: the equalities of a join's condition, both sides in one type."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ..storage.errors import ProgrammingError
from . import plan as p
from .dialect import twin_sql
from .join_scope import JoinNames
from .plan import Plan
from .relations import Column
from .trees import as_column, copied
from .twin import bind_over
from .types import Binder


@dataclass(frozen=True)
class JoinKey:
    """Two values, of either side, that partners have in common; null_safe: NULL too."""

    left: exp.Expr
    right: exp.Expr
    null_safe: bool


class JoinKeys:
    """Finds keys in conditions over the sources `names`."""

    def __init__(self, names: JoinNames, binder: Binder) -> None:
        self._names = names
        self._binder = binder

    def find(self, condition: exp.Expr, place: int, left: Plan, right: Plan) -> JoinKey | None:
        """The two sides of an equality that an index can find partners by."""
        if not isinstance(condition, exp.EQ | exp.NullSafeEQ):
            return None
        ours, theirs = condition.this, condition.expression
        if self._names.owners(ours) == {place}:
            ours, theirs = theirs, ours
        owners = self._names.owners(ours)
        if self._names.owners(theirs) != {place} or not owners or place in owners:
            return None
        types = [self.typed(value, side) for value, side in ((ours, left), (theirs, right))]
        if types[0].type != types[1].type:
            columns = (*left.columns, *right.columns)
            mixed = f"SELECT CASE WHEN TRUE THEN {twin_sql(ours)} ELSE {twin_sql(theirs)} END FROM _in"
            try:
                both = bind_over(mixed, [("_in", columns)], self._binder)[0]
            except ProgrammingError:  # DuckDB compares them by a cast that it does not do elsewhere
                return None
            if not all(_same_order(column.arrow, both.arrow) for column in types):
                return None
            ours, theirs = (
                value if column.type == both.type else exp.cast(copied(value), both.type, dialect="duckdb")
                for value, column in zip((ours, theirs), types, strict=True)
            )
            types = [both, both]
        if not _indexable(types[0].arrow):
            return None
        return JoinKey(ours, theirs, isinstance(condition, exp.NullSafeEQ))

    def typed(self, value: exp.Expr, below: Plan) -> Column:
        """What DuckDB makes of `value` over the rows of `below`."""
        if isinstance(value, exp.Column):
            known = next((column for column in below.columns if column.name == value.name), None)
            if known is not None:
                return Column(known.name, known.type, known.arrow)
        return bind_over(f"SELECT {twin_sql(value)} FROM _in", [("_in", below.columns)], self._binder)[0]

    def beside(self, below: Plan, values: list[exp.Expr], kept: set[str]) -> tuple[Plan, list[str]]:
        """`below` with its columns in `kept` and one for each of `values`, and the names of the latter."""
        if all(isinstance(value, exp.Column) for value in values):
            return below, [value.name for value in values]
        kept = kept | {value.name for value in values if isinstance(value, exp.Column)}
        columns = [column for column in below.columns if column.name in kept]
        items: list[tuple[str, exp.Expr]] = [(column.name, as_column(column.name)) for column in columns]
        found = []
        for value in values:
            found.append(value.name if isinstance(value, exp.Column) else twin_sql(value))
            if found[-1] not in (name for name, _ in items):
                bound = self.typed(value, below)
                columns.append(Column(found[-1], bound.type, bound.arrow))
                items.append((found[-1], value))
        if isinstance(below, p.Map) and all(isinstance(item, exp.Column) for _, item in below.items):
            inner = dict(below.items)
            items = [
                (name, item.transform(lambda n: copied(inner[n.name]) if isinstance(n, exp.Column) else n))
                for name, item in items
            ]
            return p.Map(below.input, tuple(items), below.where, tuple(columns)), found
        return p.Map(below, tuple(items), None, tuple(columns)), found


def _same_order(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether values of type `have` are equal in type `want` just when they compare equal in DuckDB."""

    def number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    def moment(kind: pa.DataType) -> bool:
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))

    return have == want or (number(have) and number(want)) or (moment(have) and moment(want))


def _indexable(kind: pa.DataType) -> bool:
    """Whether values of this type are equal just when a KeyIndex says so."""
    return not (pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_dictionary(kind))
