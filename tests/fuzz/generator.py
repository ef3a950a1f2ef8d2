"""Random queries over given relations: every operator there is, nested a few levels deep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from .expressions import KEYS, aggregate, condition, expression
from .shapes import array_subquery, frames, nested_lists, pivot, subquery_of_sets, unpivot
from .streaming import bounded_join, cascade, version_join, window, window_join
from .tree import (
    JOINS,
    Block,
    Column,
    Combined,
    Derived,
    Item,
    Joined,
    Kind,
    Named,
    Query,
    Relation,
    Source,
    sql,
    timeless,
)


@dataclass(frozen=True)
class Written:
    """A query; `plain` if DuckDB knows all of it and says the same whatever the order of the rows."""

    query: Query
    plain: bool
    windowed: bool


class Writer:
    """Writes queries over `relations`, and over `known` queries, so that several ask for the same."""

    def __init__(self, chance: Random, relations: Sequence[Relation], known: Sequence[Written] = ()) -> None:
        self.chance = chance
        self.relations = relations
        self._known = known
        self._numbers = count()
        self.plain = True
        self.windowed = False

    def write(self, depth: int) -> Written:
        """A query with up to `depth` queries inside each other."""
        self.plain, self.windowed = True, False
        query = self.query(depth)
        return Written(query, self.plain, self.windowed)

    def query(self, depth: int) -> Query:
        forms: list[tuple[int, Callable[[int], Query | None]]] = [
            (4, self.projection),
            (6, self._aggregation),
            (4, self._join),
            (2, lambda _: bounded_join(self)),
            (2, lambda depth: version_join(self, depth)),
            (3, lambda _: window(self)),
            (1, lambda _: cascade(self)),
            (1, lambda _: window_join(self)),
            (2, self._distinct),
            (2, self._combination),
            (2, self._top),
            (2, self._over),
            (2, lambda depth: frames(self, depth)),
            (2, self._subquery),
            (1, self._grouping_sets),
            (1, self._unnested),
            (1, self._lateral),
            (1, lambda depth: pivot(self, depth)),
            (1, lambda depth: unpivot(self, depth)),
            (1, lambda depth: subquery_of_sets(self, depth)),
            (1, lambda depth: nested_lists(self, depth)),
            (1, lambda depth: array_subquery(self, depth)),
        ]
        form = self.chance.choices([f for _, f in forms], [weight for weight, _ in forms])[0]
        return form(depth) or self.projection(depth)

    # -- sources --------------------------------------------------------------------------------------------------

    def source(self, depth: int) -> tuple[Source, list[Column]]:
        """Something for FROM, and its columns qualified with its alias."""
        alias = self.alias()
        if self._known and self.chance.random() < 0.12:
            written = self.chance.choice(self._known)
            self.plain, self.windowed = self.plain and written.plain, self.windowed or written.windowed
            columns = [Column(f"{alias}.{item.name}", item.kind) for item in written.query.columns]
            return Derived(written.query, alias), columns
        if depth > 1 and self.chance.random() < 0.5:
            query = self.query(depth - 1)
            return Derived(query, alias), [Column(f"{alias}.{item.name}", item.kind) for item in query.columns]
        relation = self.chance.choice(self.relations)
        return Named(relation.name, alias), [Column(f"{alias}.{name}", kind) for name, kind in relation.columns]

    def items(self, columns: Sequence[Column], least: int = 1) -> tuple[Item, ...]:
        """A select list over `columns`: most of them as they are, some computed."""
        items = []
        for column in self.chance.sample(list(columns), min(len(columns), self.chance.randrange(least, 5))):
            items.append(self.named(column.text, column.kind))
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            kind = self.chance.choice(KEYS)
            items.append(self.named(expression(self.chance, kind, columns, 2), kind))
        return tuple(items)

    def alias(self) -> str:
        return f"r{next(self._numbers)}"

    def timed(self) -> Relation:
        """A relation with an event time."""
        return self.chance.choice([relation for relation in self.relations if relation.time is not None])

    def named(self, text: str, kind: Kind) -> Item:
        return Item(text, f"c{next(self._numbers)}", kind)

    def conditions(self, columns: Sequence[Column], likely: float = 0.4) -> tuple[str, ...]:
        return (condition(self.chance, columns, 2),) if self.chance.random() < likely else ()

    # -- forms ----------------------------------------------------------------------------------------------------

    def projection(self, depth: int) -> Query:
        source, columns = self.source(depth)
        return Block(self.items(columns), source, self.conditions(columns, 0.7))

    def _aggregation(self, depth: int) -> Query:
        source, columns = self.source(depth)
        return self.grouped(source, columns, ())

    def grouped(self, source: Source, columns: Sequence[Column], windows: tuple[str, ...]) -> Block:
        keys = [column for column in columns if column.kind in KEYS and column.text not in windows]
        chosen: list[tuple[str, Kind]] = [(text, "ts") for text in windows]
        for column in self.chance.sample(keys, min(len(keys), self.chance.choice([0, 1, 1, 1, 2]))):
            computed = self.chance.random() < 0.2
            chosen.append((expression(self.chance, column.kind, columns) if computed else column.text, column.kind))
        chosen = [
            (text, kind) for text, kind in chosen if "." in text
        ]  # a constant is no key: GROUP BY 1 is an ordinal
        items = [self.named(text, kind) for text, kind in chosen]
        calls = [aggregate(self.chance, columns) for _ in range(self.chance.randrange(1, 4))]
        items += [self.named(text, kind) for text, kind in calls]
        having = (f"count(*) > {self.chance.randrange(0, 3)}",) if chosen and self.chance.random() < 0.2 else ()
        group = tuple(dict.fromkeys(text for text, _ in chosen))
        return Block(tuple(items), source, self.conditions(columns), group, having)

    def _grouping_sets(self, depth: int) -> Query:
        source, columns = self.source(depth)
        block = self.grouped(source, columns, ())
        if not block.group:
            return block
        word = self.chance.choice(["ROLLUP", "CUBE"])
        return replace(block, group=(f"{word} ({', '.join(block.group)})",), having=())

    def _distinct(self, depth: int) -> Query:
        source, columns = self.source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        items = tuple(self.named(column.text, column.kind) for column in self.chance.sample(keys, min(2, len(keys))))
        if not items:
            items = (self.named("count(*)", "int"),)
        return Block(items, source, self.conditions(columns), distinct=True)

    def _join(self, depth: int) -> Query:
        source, columns = self.source(depth)
        for _ in range(self.chance.choice([1, 1, 1, 2])):
            right, more = self.source(depth)
            kind = self.chance.choice(JOINS)
            on = [f"{left} = {other}" for left, other in self.pairs(columns, more)]
            if self.chance.random() < 0.12:  # by comparisons alone
                signs = [self.chance.choice(["<", "<=", ">", ">="]) for _ in range(2)]
                on = [f"{one} {sign} {two}" for (one, two), sign in zip(self.pairs(columns, more), signs, strict=False)]
            if not on and kind != "JOIN":
                kind = "JOIN"
            if self.chance.random() < 0.3:
                on.append(condition(self.chance, timeless([*columns, *more])))
            source = Joined(kind, source, right, tuple(on) or ("1 = 1",))
            columns = columns if kind in ("SEMI JOIN", "ANTI JOIN") else [*columns, *more]
        if self.chance.random() < 0.4:
            return self.grouped(source, timeless(columns), ())
        return Block(self.items(columns, 2), source, self.conditions(timeless(columns)))

    def pairs(self, left: Sequence[Column], right: Sequence[Column]) -> list[tuple[str, str]]:
        """Columns to join on: few values, so that many rows match."""
        pairs = [(a.text, b.text) for a in left for b in right if a.kind == b.kind and a.kind in ("int", "str", "dec")]
        return self.chance.sample(pairs, min(len(pairs), self.chance.choice([1, 1, 2])))

    def _combination(self, depth: int) -> Query:
        kinds = [self.chance.choice(KEYS) for _ in range(self.chance.randrange(1, 3))]
        sides = []
        for _ in range(2):
            source, columns = self.source(depth)
            items = tuple(self.named(expression(self.chance, kind, columns), kind) for kind in kinds)
            sides.append(Block(items, source, self.conditions(columns)))
        words = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]
        return Combined(self.chance.choice(words), *sides)

    def _top(self, depth: int) -> Query:
        source, columns = self.source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        if not keys:
            return self.projection(depth)
        self.plain = False  # which of equal rows come first is for us to settle
        items = tuple(self.named(column.text, column.kind) for column in keys[:4])
        where = self.conditions(columns)
        first = self.ordering(items)
        if self.chance.random() < 0.4:
            return Block(items, source, where, tail=f"ORDER BY {first} LIMIT {self.chance.randrange(1, 6)}")
        function = self.chance.choice(["row_number", "rank", "dense_rank"])
        rank = f"{function}() OVER (PARTITION BY {items[0].text} ORDER BY {self.ordering(items, by_text=True)})"
        return Block(items, source, where, tail=f"QUALIFY {rank} <= {self.chance.randrange(1, 4)}")

    def ordering(self, items: Sequence[Item], *, by_text: bool = False) -> str:
        chosen = self.chance.sample(list(items), self.chance.randrange(1, len(items) + 1))
        return ", ".join(
            f"{item.text if by_text else item.name}{self.chance.choice(['', ' DESC', ' NULLS FIRST'])}"
            for item in chosen
        )

    def _over(self, depth: int) -> Query:
        source, columns = self.source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        numbers = [column for column in columns if column.kind == "int"]
        if not keys or not numbers:
            return self.projection(depth)
        partition, order = self.chance.choice(keys).text, self.chance.choice(keys).text
        number = self.chance.choice(numbers).text
        calls: list[tuple[str, str]] = [  # with RANGE frames and whole partitions, ties do not matter
            (f"count(*) OVER (PARTITION BY {partition} ORDER BY {order})", "int"),
            (f"sum({number}) OVER (PARTITION BY {partition} ORDER BY {order})", "huge"),
            (f"max({number}) OVER (PARTITION BY {partition})", "int"),
            (f"rank() OVER (PARTITION BY {partition} ORDER BY {order} DESC)", "int"),
            (f"dense_rank() OVER (PARTITION BY {partition} ORDER BY {order})", "int"),
            (f"avg({number}) OVER (PARTITION BY {partition})", "approx"),
        ]
        items = [self.named(column.text, column.kind) for column in columns[:3]]
        items += [self.named(text, kind) for text, kind in self.chance.sample(calls, self.chance.randrange(1, 3))]
        return Block(tuple(items), source, self.conditions(columns))

    def _lateral(self, depth: int) -> Query:
        source, columns = self.source(depth)
        inner, more = self.source(1)
        pairs = self.pairs(columns, more)
        if not pairs:
            return self.projection(depth)
        where = (f"{pairs[0][0]} = {pairs[0][1]}", *self.conditions([*columns, *more]))
        form = self.chance.choice(["rows", "groups", "first"])
        keys = [column for column in more if column.kind in KEYS]
        if form == "groups":
            items: tuple[Item, ...] = tuple(self.named(*aggregate(self.chance, more)) for _ in range(2))
        else:
            items = tuple(self.named(column.text, column.kind) for column in keys[:3])
        tail = ""
        if form == "first":
            self.plain = False
            tail = f"ORDER BY {self.ordering(items)} LIMIT {self.chance.randrange(1, 4)}"
        alias = self.alias()
        lateral = Named(f"LATERAL ({sql(Block(items, inner, where, tail=tail))})", alias)
        kind, on = self.chance.choice([("JOIN", ("1 = 1",)), ("LEFT JOIN", ("1 = 1",)), ("CROSS JOIN", ())])
        columns = [*columns, *(Column(f"{alias}.{item.name}", item.kind) for item in items)]
        return Block(self.items(columns, 2), Joined(kind, source, lateral, on), self.conditions(columns))

    def _unnested(self, depth: int) -> Query:
        source, columns = self.source(depth)
        alias, kind = self.alias(), self.chance.choice(KEYS)
        values = [expression(self.chance, kind, columns) for _ in range(self.chance.randrange(1, 4))]
        elements = Named(f"UNNEST([{', '.join(values)}])", f"{alias}(e)")
        columns = [*columns, Column(f"{alias}.e", kind)]
        joined = Joined("CROSS JOIN", source, elements, ())
        if self.chance.random() < 0.4:
            return self.grouped(joined, columns, ())
        return Block(self.items(columns, 2), joined, self.conditions(columns))

    def _subquery(self, depth: int) -> Query:
        source, columns = self.source(depth)
        inner, more = self.source(1)
        pairs = self.pairs(columns, more)
        if not pairs:
            return self.projection(depth)
        left, right = pairs[0]
        plain_right = Block((self.named(right, "int"),), inner, self.conditions(more))
        correlated = Block((self.named("1", "int"),), inner, (f"{left} = {right}", *self.conditions(more)))
        more_than_equal = replace(correlated, where=(condition(self.chance, [*columns, *more]),))
        numbers = [column.text for column in more if column.kind == "int"] or ["1"]
        of_group = self.chance.choice(["count(*)", f"count({right})", f"sum({self.chance.choice(numbers)})"])
        scalar = Block((self.named(f"max({right})", "int"),), inner, self.conditions(more))
        tests = [
            f"{left} IN ({sql(plain_right)})",
            f"{left} NOT IN ({sql(plain_right)})",
            f"EXISTS ({sql(correlated)})",
            f"NOT EXISTS ({sql(correlated)})",
            f"EXISTS ({sql(more_than_equal)})",
            f"NOT EXISTS ({sql(more_than_equal)})",
            f"{left} < ({sql(scalar)})",
            f"{left} >= ALL ({sql(plain_right)})",
            f"({sql(replace(correlated, items=(self.named(of_group, 'int'),)))}) > 1",
        ]
        where = self.chance.choice(tests)
        items = self.items(columns)
        if self.chance.random() < 0.3:
            items = (*items, self.named(self.chance.choice(tests), "bool"))
        if self.chance.random() < 0.2:
            where = f"({where}) OR {condition(self.chance, columns)}"
        return Block(items, source, (where, *self.conditions(columns, 0.2)))
