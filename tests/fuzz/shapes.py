"""Random queries that change the shape of rows: frames of OVER, PIVOT and UNPIVOT, lists, sets within subqueries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .expressions import KEYS, TYPES, condition, expression
from .tree import Block, Column, Combined, Joined, Named, Query, sql

if TYPE_CHECKING:
    from .generator import Writer

_OFFSETS = {"int": ("1", "3", "0"), "ts": ("INTERVAL '10' SECOND", "INTERVAL '1' MINUTE"), "dec": ("1.5", "20")}
_SETS = ("UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")


def frames(writer: Writer, depth: int) -> Query | None:
    """OVER with frames of rows, of values and of peers, and with functions of places."""
    chance = writer.chance
    source, columns = writer.source(depth)
    keys = [column for column in columns if column.kind in KEYS]
    ordered = [column for column in columns if column.kind in _OFFSETS]
    if not keys or not ordered:
        return None
    partition, order = chance.choice(keys).text, chance.choice(ordered)
    number = expression(chance, "int", columns)
    by_rows = chance.random() < 0.6
    if by_rows:
        writer.plain = False  # which of equal rows come first is for us to settle
        offsets: tuple[str, ...] = ("1", "2", "5")
    else:
        offsets = _OFFSETS[order.kind]
    start = chance.choice(["UNBOUNDED PRECEDING", "CURRENT ROW", *(f"{offset} PRECEDING" for offset in offsets)])
    end = chance.choice(["UNBOUNDED FOLLOWING", "CURRENT ROW", *(f"{offset} FOLLOWING" for offset in offsets)])
    frame = f"{'ROWS' if by_rows else 'RANGE'} BETWEEN {start} AND {end}"
    down = chance.choice(["", "", " DESC", " NULLS FIRST"])
    part = f"PARTITION BY {partition} " if chance.random() < 0.8 else ""
    over = f"OVER ({part}ORDER BY {order.text}{down} {frame})"
    calls = [
        (f"count(*) {over}", "int"),
        (f"sum({number}) {over}", "huge"),
        (f"min({number}) {over}", "int"),
        (f"max({number}) {over}", "int"),
        (f"count({number}) {over}", "int"),
        (f"avg({number}) {over}", "approx"),
    ]
    if by_rows:
        place = f"OVER ({part}ORDER BY {order.text}{down})"
        calls += [
            (f"first_value({number}) {over}", "int"),
            (f"last_value({number}) {over}", "int"),
            (f"lag({number}, {chance.randrange(1, 3)}) {place}", "int"),
            (f"lead({number}) {place}", "int"),
            (f"row_number() {place}", "int"),
            (f"ntile(3) {place}", "int"),
        ]
    items = [writer.named(column.text, column.kind) for column in columns[:3]]
    items += [writer.named(text, kind) for text, kind in chance.sample(calls, chance.randrange(1, 4))]
    return Block(tuple(items), source, writer.conditions(columns))


def pivot(writer: Writer, depth: int) -> Query | None:
    """A column for each of some values of a key."""
    chance = writer.chance
    source, columns = writer.source(depth)
    keys = [column for column in columns if column.kind in ("int", "str")]
    numbers = [column for column in columns if column.kind in ("int", "dec")]
    if len(keys) < 2 or not numbers:
        return None
    (key, group), number = chance.sample(keys, 2), chance.choice(numbers)
    below = Block((writer.named(key.text, key.kind), writer.named(group.text, group.kind)), source)
    below = Block((*below.items, writer.named(number.text, number.kind)), source, writer.conditions(columns))
    on, by, value = (item.name for item in below.items)
    values = ("1", "2", "3") if key.kind == "int" else ("'a'", "'b'")
    function, kind = chance.choice([("sum", "huge"), ("count", "int"), ("max", number.kind)])
    names = [writer.named("", kind).name for _ in values]
    listed = ", ".join(f"{text} AS {name}" for text, name in zip(values, names, strict=True))
    grouped = f" GROUP BY {by}" if chance.random() < 0.8 else ""
    alias = writer.alias()
    text = f"(SELECT * FROM ({sql(below)}) PIVOT ({function}({value}) FOR {on} IN ({listed}){grouped}))"
    seen = [Column(f"{alias}.{name}", kind) for name in names]
    if grouped:
        seen.append(Column(f"{alias}.{by}", group.kind))
    return Block(writer.items(seen, 2), Named(text, alias), writer.conditions(seen, 0.2))


def unpivot(writer: Writer, depth: int) -> Query | None:
    """A row for each of some columns of a kind."""
    chance = writer.chance
    source, columns = writer.source(depth)
    kind = chance.choice(("int", "str", "dec"))
    turned = [writer.named(expression(chance, kind, columns), kind) for _ in range(chance.randrange(1, 4))]
    kept = [writer.named(column.text, column.kind) for column in columns[:2]]
    below = Block((*kept, *turned), source, writer.conditions(columns))
    alias = writer.alias()
    nulls = chance.choice(["", "", "INCLUDE NULLS "])
    names = ", ".join(item.name for item in turned)
    text = f"(SELECT * FROM ({sql(below)}) UNPIVOT {nulls}(val FOR what IN ({names})))"
    seen = [Column(f"{alias}.{item.name}", item.kind) for item in kept]
    seen += [Column(f"{alias}.val", kind), Column(f"{alias}.what", "str")]
    if chance.random() < 0.4:
        return writer.grouped(Named(text, alias), seen, ())
    return Block(writer.items(seen, 2), Named(text, alias), writer.conditions(seen))


def subquery_of_sets(writer: Writer, depth: int) -> Query | None:
    """IN, EXISTS and values of subqueries that are set operations, or that are in ON."""
    chance = writer.chance
    source, columns = writer.source(depth)
    sides = [writer.source(1) for _ in range(2)]
    kind = chance.choice(("int", "str"))
    left = expression(chance, kind, columns)
    blocks = [
        Block((writer.named(expression(chance, kind, more), kind),), inner, writer.conditions(more))
        for inner, more in sides
    ]
    if chance.random() < 0.4:  # for the outer row
        place = chance.randrange(2)
        pairs = writer.pairs(columns, sides[place][1])
        blocks[place] = replace(blocks[place], where=(*blocks[place].where, *(f"{a} = {b}" for a, b in pairs[:1])))
    text = sql(Combined(chance.choice(_SETS), *blocks))
    inner, more = sides[0]
    correlated = Block((writer.named("1", "int"),), inner, (condition(chance, [*columns, *more]),))
    both = tuple(writer.named(expression(chance, k, more), k) for k in (kind, "str"))
    two = Block(both, inner, writer.conditions(more))
    tests = [
        f"{left} IN ({text})",
        f"{left} NOT IN ({text})",
        f"EXISTS ({text})",
        f"{left} > ALL ({text})",
        f"{left} = ANY ({text})",
        f"(SELECT count(*) FROM ({text}) AS {writer.alias()}) > 2",
        f"EXISTS ({sql(correlated)})",
        f"EXISTS (SELECT 1 WHERE {condition(chance, columns)})",
        f"({left}, {expression(chance, 'str', columns)}) NOT IN ({sql(two)})",
        f"({left}, {expression(chance, 'str', columns)}) IN ({sql(two)})",
        f"(SELECT max({left}) FROM ({text}) AS {writer.alias()}) IS NOT NULL",
    ]
    test = chance.choice(tests)
    if chance.random() < 0.25:
        right, others = sides[1]
        pairs = writer.pairs(columns, others)
        if pairs:
            on = (f"{pairs[0][0]} = {pairs[0][1]}", test)
            joined = Joined(chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN"]), source, right, on)
            seen = [*columns, *others]
            return Block(writer.items(seen, 2), joined)
    items = writer.items(columns)
    if chance.random() < 0.3:
        return Block((*items, writer.named(test, "bool")), source)
    return Block(items, source, (test,))


def nested_lists(writer: Writer, depth: int) -> Query | None:
    """Aggregates into lists and structs, taken apart again above."""
    chance = writer.chance
    source, columns = writer.source(depth)
    kind = chance.choice(("int", "str", "dec"))
    value = expression(chance, kind, columns)
    keys = [column for column in columns if column.kind in KEYS]
    if not keys:
        return None
    key, alias, element = chance.choice(keys), writer.alias(), writer.alias()
    call = f"list({value} ORDER BY {value})"
    if chance.random() < 0.5:
        call = f"list(DISTINCT {value} ORDER BY {value}) FILTER (WHERE {condition(chance, columns)})"
    below = Block(
        (writer.named(key.text, key.kind), writer.named(call, "list")), source, writer.conditions(columns), (key.text,)
    )
    name, values = (f"{alias}.{item.name}" for item in below.items)
    derived = Named(f"({sql(below)})", alias)
    if chance.random() < 0.5:
        joined = Joined("CROSS JOIN", derived, Named(f"UNNEST({values})", f"{element}(e)"), ())
        seen = [Column(name, key.kind), Column(f"{element}.e", kind)]
        return writer.grouped(joined, seen, ()) if chance.random() < 0.5 else Block(writer.items(seen, 2), joined)
    other = f"CAST(NULL AS {TYPES[kind]})"
    picks = [
        (f"len({values})", "int"),
        (f"{values}[1]", kind),
        (f"{values}[-1]", kind),
        (f"list_contains({values}, {expression(chance, kind, [])})", "bool"),
        (f"{{'a': {values}[1], 'b': {other}}}.a", kind),
        (f"array_to_string({values}, ',')", "str") if kind == "str" else (f"list_max({values})", kind),
    ]
    items = [writer.named(name, key.kind), *(writer.named(*pick) for pick in chance.sample(picks, 2))]
    return Block(tuple(items), derived)


def array_subquery(writer: Writer, depth: int) -> Query | None:
    """ARRAY(SELECT ...) of another relation's rows."""
    source, columns = writer.source(depth)
    inner, more = writer.source(1)
    pairs = writer.pairs(columns, more)
    if not pairs:
        return None
    value = Block((writer.named(pairs[0][1], "int"),), inner, (f"{pairs[0][0]} = {pairs[0][1]}",), tail="ORDER BY 1")
    text = f"ARRAY({sql(value)})"
    return Block((*writer.items(columns), writer.named(text, "list")), source)
