"""Random queries over given relations: every operator there is, nested a few levels deep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from .expressions import KEYS, aggregate, condition, expression
from .tree import Block, Column, Combined, Derived, Item, Joined, Kind, Named, Query, Source, sql

_JOINS = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")
_WINDOWS = (
    "TUMBLE(TABLE {name}, DESCRIPTOR({time}), INTERVAL '10' SECOND)",
    "HOP(TABLE {name}, DESCRIPTOR({time}), INTERVAL '5' SECOND, INTERVAL '15' SECOND)",
    "CUMULATE(TABLE {name}, DESCRIPTOR({time}), INTERVAL '5' SECOND, INTERVAL '20' SECOND)",
    # months that begin, on the clocks of Berlin, among the times that rows have
    "TUMBLE(TABLE {name}, DESCRIPTOR({time}), INTERVAL '1' MONTH, INTERVAL '11:00:20', 'Europe/Berlin')",
)
_SESSION = "SESSION(TABLE {name} PARTITION BY {key}, DESCRIPTOR({time}), INTERVAL '8' SECOND)"


@dataclass(frozen=True)
class Relation:
    """A relation that queries may read; `time` is its event time, if it has one."""

    name: str
    columns: tuple[tuple[str, Kind], ...]
    time: str | None = None


@dataclass(frozen=True)
class Written:
    """A query; `plain` if DuckDB knows all of it and says the same whatever the order of the rows."""

    query: Query
    plain: bool
    windowed: bool


class Writer:
    """Writes queries over `relations`, and over `known` queries, so that several ask for the same."""

    def __init__(self, chance: Random, relations: Sequence[Relation], known: Sequence[Written] = ()) -> None:
        self._chance = chance
        self._relations = relations
        self._known = known
        self._numbers = count()
        self._plain = True
        self._windowed = False

    def write(self, depth: int) -> Written:
        """A query with up to `depth` queries inside each other."""
        self._plain, self._windowed = True, False
        query = self._query(depth)
        return Written(query, self._plain, self._windowed)

    def _query(self, depth: int) -> Query:
        forms: list[tuple[int, Callable[[int], Query]]] = [
            (4, self._projection),
            (6, self._aggregation),
            (4, self._join),
            (2, self._bounded_join),
            (2, self._version_join),
            (3, self._window),
            (2, self._distinct),
            (2, self._combination),
            (2, self._top),
            (2, self._over),
            (2, self._subquery),
            (1, self._grouping_sets),
            (1, self._unnested),
            (1, self._lateral),
        ]
        form = self._chance.choices([f for _, f in forms], [weight for weight, _ in forms])[0]
        return form(depth)

    # -- sources --------------------------------------------------------------------------------------------------

    def _source(self, depth: int) -> tuple[Source, list[Column]]:
        """Something for FROM, and its columns qualified with its alias."""
        alias = f"r{next(self._numbers)}"
        if self._known and self._chance.random() < 0.12:
            written = self._chance.choice(self._known)
            self._plain, self._windowed = self._plain and written.plain, self._windowed or written.windowed
            columns = [Column(f"{alias}.{item.name}", item.kind) for item in written.query.columns]
            return Derived(written.query, alias), columns
        if depth > 1 and self._chance.random() < 0.5:
            query = self._query(depth - 1)
            return Derived(query, alias), [Column(f"{alias}.{item.name}", item.kind) for item in query.columns]
        relation = self._chance.choice(self._relations)
        return Named(relation.name, alias), [Column(f"{alias}.{name}", kind) for name, kind in relation.columns]

    def _items(self, columns: Sequence[Column], least: int = 1) -> tuple[Item, ...]:
        """A select list over `columns`: most of them as they are, some computed."""
        items = []
        for column in self._chance.sample(list(columns), min(len(columns), self._chance.randrange(least, 5))):
            items.append(self._named(column.text, column.kind))
        for _ in range(self._chance.choice([0, 0, 1, 2])):
            kind = self._chance.choice(KEYS)
            items.append(self._named(expression(self._chance, kind, columns, 2), kind))
        return tuple(items)

    def _named(self, text: str, kind: Kind) -> Item:
        return Item(text, f"c{next(self._numbers)}", kind)

    def _conditions(self, columns: Sequence[Column], likely: float = 0.4) -> tuple[str, ...]:
        return (condition(self._chance, columns, 2),) if self._chance.random() < likely else ()

    # -- forms ----------------------------------------------------------------------------------------------------

    def _projection(self, depth: int) -> Query:
        source, columns = self._source(depth)
        return Block(self._items(columns), source, self._conditions(columns, 0.7))

    def _aggregation(self, depth: int) -> Query:
        source, columns = self._source(depth)
        return self._grouped(source, columns, ())

    def _grouped(self, source: Source, columns: Sequence[Column], windows: tuple[str, ...]) -> Block:
        keys = [column for column in columns if column.kind in KEYS and column.text not in windows]
        chosen: list[tuple[str, Kind]] = [(text, "ts") for text in windows]
        for column in self._chance.sample(keys, min(len(keys), self._chance.choice([0, 1, 1, 1, 2]))):
            computed = self._chance.random() < 0.2
            chosen.append((expression(self._chance, column.kind, columns) if computed else column.text, column.kind))
        chosen = [
            (text, kind) for text, kind in chosen if "." in text
        ]  # a constant is no key: GROUP BY 1 is an ordinal
        items = [self._named(text, kind) for text, kind in chosen]
        calls = [aggregate(self._chance, columns) for _ in range(self._chance.randrange(1, 4))]
        items += [self._named(text, kind) for text, kind in calls]
        having = (f"count(*) > {self._chance.randrange(0, 3)}",) if chosen and self._chance.random() < 0.2 else ()
        group = tuple(dict.fromkeys(text for text, _ in chosen))
        return Block(tuple(items), source, self._conditions(columns), group, having)

    def _grouping_sets(self, depth: int) -> Query:
        source, columns = self._source(depth)
        block = self._grouped(source, columns, ())
        if not block.group:
            return block
        word = self._chance.choice(["ROLLUP", "CUBE"])
        return replace(block, group=(f"{word} ({', '.join(block.group)})",), having=())

    def _window(self, depth: int) -> Query:
        timed = [relation for relation in self._relations if relation.time is not None]
        relation = self._chance.choice(timed)
        alias = f"r{next(self._numbers)}"
        self._plain, self._windowed = False, True
        texts = [text.format(name=relation.name, time=relation.time) for text in _WINDOWS]
        keys = [name for name, kind in relation.columns if kind in KEYS and name != relation.time]
        texts.append(_SESSION.format(name=relation.name, time=relation.time, key=self._chance.choice(keys)))
        source = Named(self._chance.choice(texts), alias)
        columns = [Column(f"{alias}.{name}", kind) for name, kind in relation.columns]
        bounds = [Column(f"{alias}.window_start", "ts"), Column(f"{alias}.window_end", "ts")]
        if self._chance.random() < 0.2:
            return Block(self._items([*columns, *bounds], 2), source, self._conditions(columns))
        keys_of_windows = bounds if self._chance.random() < 0.7 else [self._chance.choice(bounds)]
        return self._grouped(source, columns, tuple(column.text for column in keys_of_windows))

    def _distinct(self, depth: int) -> Query:
        source, columns = self._source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        items = tuple(self._named(column.text, column.kind) for column in self._chance.sample(keys, min(2, len(keys))))
        if not items:
            items = (self._named("count(*)", "int"),)
        return Block(items, source, self._conditions(columns), distinct=True)

    def _join(self, depth: int) -> Query:
        source, columns = self._source(depth)
        for _ in range(self._chance.choice([1, 1, 1, 2])):
            right, more = self._source(depth)
            kind = self._chance.choice(_JOINS)
            on = [f"{left} = {other}" for left, other in self._pairs(columns, more)]
            if not on and kind != "JOIN":
                kind = "JOIN"
            if self._chance.random() < 0.3:
                on.append(condition(self._chance, _timeless([*columns, *more])))
            source = Joined(kind, source, right, tuple(on) or ("1 = 1",))
            columns = columns if kind in ("SEMI JOIN", "ANTI JOIN") else [*columns, *more]
        if self._chance.random() < 0.4:
            return self._grouped(source, _timeless(columns), ())
        return Block(self._items(columns, 2), source, self._conditions(_timeless(columns)))

    def _bounded_join(self, depth: int) -> Query:
        timed = [relation for relation in self._relations if relation.time is not None]
        sides, columns, times = [], [], []
        windowed = self._chance.random() < 0.3
        for _ in range(2):
            relation, alias = self._chance.choice(timed), f"r{next(self._numbers)}"
            text = _WINDOWS[0].format(name=relation.name, time=relation.time) if windowed else relation.name
            sides.append(Named(text, alias))
            columns.append([Column(f"{alias}.{name}", kind) for name, kind in relation.columns])
            times.append(f"{alias}.window_end" if windowed else f"{alias}.{relation.time}")
        self._plain, self._windowed = False, True
        one, other = times
        seconds = f"INTERVAL '{self._chance.randrange(0, 30)}' SECOND"
        bounds = (
            f"{one} BETWEEN {other} - {seconds} AND {other} + {seconds}",
            f"{one} - {other} <= {seconds} AND {one} > {other}",
            f"{other} - {seconds} < {one} AND {one} <= {other} - INTERVAL '2' SECOND",
            f"{one} < {other}",
            f"{one} = {other}",
        )
        on = [self._chance.choice(bounds) if not windowed else f"{one} = {other}"]
        on += [f"{left} = {right}" for left, right in self._pairs(*columns)][: self._chance.choice([0, 1, 1, 2])]
        if self._chance.random() < 0.2:
            on.append(condition(self._chance, [*columns[0], *columns[1]]))
        kind = self._chance.choice(_JOINS)
        source = Joined(kind, *sides, tuple(on))
        seen = columns[0] if kind in ("SEMI JOIN", "ANTI JOIN") else [*columns[0], *columns[1]]
        if self._chance.random() < 0.3:
            return self._grouped(source, seen, ())
        return Block(self._items(seen, 2), source, self._conditions(seen))

    def _version_join(self, depth: int) -> Query:
        relation = self._chance.choice([relation for relation in self._relations if relation.time is not None])
        right, (source, columns) = f"r{next(self._numbers)}", self._source(depth)
        times = [column.text for column in columns if column.kind == "ts"]
        more = [Column(f"{right}.{name}", kind) for name, kind in relation.columns]
        on = [f"{left} = {other}" for left, other in self._pairs(columns, more)]
        if not times or not on or not isinstance(source, Named):
            return self._bounded_join(depth)
        self._plain = False
        side = self._chance.choice(["", "LEFT "])
        if self._chance.random() < 0.5:
            sign = self._chance.choice([">=", ">", "<=", "<"])
            on.append(f"{times[0]} {sign} {right}.{relation.time}")
            joined = Joined(f"ASOF {side}JOIN", source, Named(relation.name, right), tuple(on))
        else:
            version = Named(f"{relation.name} FOR SYSTEM_TIME AS OF {times[0]}", right)
            joined = Joined(f"{side}JOIN", source, version, tuple(on))
        seen = [*columns, *more]
        if self._chance.random() < 0.3:
            return self._grouped(joined, seen, ())
        return Block(self._items(seen, 2), joined, self._conditions(seen))

    def _pairs(self, left: Sequence[Column], right: Sequence[Column]) -> list[tuple[str, str]]:
        """Columns to join on: few values, so that many rows match."""
        pairs = [(a.text, b.text) for a in left for b in right if a.kind == b.kind and a.kind in ("int", "str", "dec")]
        return self._chance.sample(pairs, min(len(pairs), self._chance.choice([1, 1, 2])))

    def _combination(self, depth: int) -> Query:
        kinds = [self._chance.choice(KEYS) for _ in range(self._chance.randrange(1, 3))]
        sides = []
        for _ in range(2):
            source, columns = self._source(depth)
            items = tuple(self._named(expression(self._chance, kind, columns), kind) for kind in kinds)
            sides.append(Block(items, source, self._conditions(columns)))
        words = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]
        return Combined(self._chance.choice(words), *sides)

    def _top(self, depth: int) -> Query:
        source, columns = self._source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        if not keys:
            return self._projection(depth)
        self._plain = False  # which of equal rows come first is for us to settle
        items = tuple(self._named(column.text, column.kind) for column in keys[:4])
        where = self._conditions(columns)
        first = self._ordering(items)
        if self._chance.random() < 0.4:
            return Block(items, source, where, tail=f"ORDER BY {first} LIMIT {self._chance.randrange(1, 6)}")
        function = self._chance.choice(["row_number", "rank", "dense_rank"])
        rank = f"{function}() OVER (PARTITION BY {items[0].text} ORDER BY {self._ordering(items, by_text=True)})"
        return Block(items, source, where, tail=f"QUALIFY {rank} <= {self._chance.randrange(1, 4)}")

    def _ordering(self, items: Sequence[Item], *, by_text: bool = False) -> str:
        chosen = self._chance.sample(list(items), self._chance.randrange(1, len(items) + 1))
        return ", ".join(
            f"{item.text if by_text else item.name}{self._chance.choice(['', ' DESC', ' NULLS FIRST'])}"
            for item in chosen
        )

    def _over(self, depth: int) -> Query:
        source, columns = self._source(depth)
        keys = [column for column in columns if column.kind in KEYS]
        numbers = [column for column in columns if column.kind == "int"]
        if not keys or not numbers:
            return self._projection(depth)
        partition, order = self._chance.choice(keys).text, self._chance.choice(keys).text
        number = self._chance.choice(numbers).text
        calls: list[tuple[str, str]] = [  # with RANGE frames and whole partitions, ties do not matter
            (f"count(*) OVER (PARTITION BY {partition} ORDER BY {order})", "int"),
            (f"sum({number}) OVER (PARTITION BY {partition} ORDER BY {order})", "huge"),
            (f"max({number}) OVER (PARTITION BY {partition})", "int"),
            (f"rank() OVER (PARTITION BY {partition} ORDER BY {order} DESC)", "int"),
            (f"dense_rank() OVER (PARTITION BY {partition} ORDER BY {order})", "int"),
            (f"avg({number}) OVER (PARTITION BY {partition})", "approx"),
        ]
        items = [self._named(column.text, column.kind) for column in columns[:3]]
        items += [self._named(text, kind) for text, kind in self._chance.sample(calls, self._chance.randrange(1, 3))]
        return Block(tuple(items), source, self._conditions(columns))

    def _lateral(self, depth: int) -> Query:
        source, columns = self._source(depth)
        inner, more = self._source(1)
        pairs = self._pairs(columns, more)
        if not pairs:
            return self._projection(depth)
        where = (f"{pairs[0][0]} = {pairs[0][1]}", *self._conditions([*columns, *more]))
        form = self._chance.choice(["rows", "groups", "first"])
        keys = [column for column in more if column.kind in KEYS]
        if form == "groups":
            items: tuple[Item, ...] = tuple(self._named(*aggregate(self._chance, more)) for _ in range(2))
        else:
            items = tuple(self._named(column.text, column.kind) for column in keys[:3])
        tail = ""
        if form == "first":
            self._plain = False
            tail = f"ORDER BY {self._ordering(items)} LIMIT {self._chance.randrange(1, 4)}"
        alias = f"r{next(self._numbers)}"
        lateral = Named(f"LATERAL ({sql(Block(items, inner, where, tail=tail))})", alias)
        kind, on = self._chance.choice([("JOIN", ("1 = 1",)), ("LEFT JOIN", ("1 = 1",)), ("CROSS JOIN", ())])
        columns = [*columns, *(Column(f"{alias}.{item.name}", item.kind) for item in items)]
        return Block(self._items(columns, 2), Joined(kind, source, lateral, on), self._conditions(columns))

    def _unnested(self, depth: int) -> Query:
        source, columns = self._source(depth)
        alias, kind = f"r{next(self._numbers)}", self._chance.choice(KEYS)
        values = [expression(self._chance, kind, columns) for _ in range(self._chance.randrange(1, 4))]
        elements = Named(f"UNNEST([{', '.join(values)}])", f"{alias}(e)")
        columns = [*columns, Column(f"{alias}.e", kind)]
        joined = Joined("CROSS JOIN", source, elements, ())
        if self._chance.random() < 0.4:
            return self._grouped(joined, columns, ())
        return Block(self._items(columns, 2), joined, self._conditions(columns))

    def _subquery(self, depth: int) -> Query:
        source, columns = self._source(depth)
        inner, more = self._source(1)
        pairs = self._pairs(columns, more)
        if not pairs:
            return self._projection(depth)
        left, right = pairs[0]
        plain_right = Block((self._named(right, "int"),), inner, self._conditions(more))
        correlated = Block((self._named("1", "int"),), inner, (f"{left} = {right}", *self._conditions(more)))
        more_than_equal = replace(correlated, where=(condition(self._chance, [*columns, *more]),))
        numbers = [column.text for column in more if column.kind == "int"] or ["1"]
        of_group = self._chance.choice(["count(*)", f"count({right})", f"sum({self._chance.choice(numbers)})"])
        scalar = Block((self._named(f"max({right})", "int"),), inner, self._conditions(more))
        tests = [
            f"{left} IN ({sql(plain_right)})",
            f"{left} NOT IN ({sql(plain_right)})",
            f"EXISTS ({sql(correlated)})",
            f"NOT EXISTS ({sql(correlated)})",
            f"EXISTS ({sql(more_than_equal)})",
            f"NOT EXISTS ({sql(more_than_equal)})",
            f"{left} < ({sql(scalar)})",
            f"{left} >= ALL ({sql(plain_right)})",
            f"({sql(replace(correlated, items=(self._named(of_group, 'int'),)))}) > 1",
        ]
        where = self._chance.choice(tests)
        items = self._items(columns)
        if self._chance.random() < 0.3:
            items = (*items, self._named(self._chance.choice(tests), "bool"))
        if self._chance.random() < 0.2:
            where = f"({where}) OR {condition(self._chance, columns)}"
        return Block(items, source, (where, *self._conditions(columns, 0.2)))


def _timeless(columns: Sequence[Column]) -> list[Column]:
    """Those that are no times: a condition between two times may bind them, and then late rows take no part."""
    return [column for column in columns if column.kind != "ts"]
