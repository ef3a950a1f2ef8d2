"""Random queries that time bounds: windows, windows of windows, joins of event times and of versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .expressions import KEYS, aggregate, condition
from .tree import JOINS, Block, Column, Derived, Item, Joined, Named, Query, sql

if TYPE_CHECKING:
    from .generator import Writer

_WINDOWS = (
    "TUMBLE({source}, DESCRIPTOR({time}), INTERVAL '10' SECOND)",
    "HOP({source}, DESCRIPTOR({time}), INTERVAL '5' SECOND, INTERVAL '15' SECOND)",
    "CUMULATE({source}, DESCRIPTOR({time}), INTERVAL '5' SECOND, INTERVAL '20' SECOND)",
    # months that begin, on the clocks of Berlin, among the times that rows have
    "TUMBLE({source}, DESCRIPTOR({time}), INTERVAL '1' MONTH, INTERVAL '11:00:20', 'Europe/Berlin')",
)
_SESSION = "SESSION({source} PARTITION BY {key}, DESCRIPTOR({time}), INTERVAL '8' SECOND)"
_WIDER = (
    "TUMBLE({source}, DESCRIPTOR({time}), INTERVAL '30' SECOND)",
    "HOP({source}, DESCRIPTOR({time}), INTERVAL '10' SECOND, INTERVAL '30' SECOND)",
    "CUMULATE({source}, DESCRIPTOR({time}), INTERVAL '10' SECOND, INTERVAL '40' SECOND)",
)
_BOUNDS = ("window_start", "window_end", "window_time")


def window(writer: Writer) -> Query:
    """Rows, or aggregates, of the windows of a relation."""
    source, columns, bounds = _windowed(writer)
    if writer.chance.random() < 0.2:
        return Block(writer.items([*columns, *bounds], 2), source, writer.conditions(columns))
    keys = bounds[:2] if writer.chance.random() < 0.7 else [writer.chance.choice(bounds)]
    return writer.grouped(source, columns, tuple(column.text for column in keys))


def cascade(writer: Writer) -> Query:
    """Windows of what windows give."""
    source, columns, bounds = _windowed(writer)
    inner = writer.grouped(source, columns, tuple(column.text for column in bounds))
    named = tuple(Item(item.text, f"w{place}", item.kind) for place, item in enumerate(inner.items))
    text = sql(Block(named, inner.source, inner.where, inner.group, inner.having))
    alias = writer.alias()
    outer = writer.chance.choice(_WIDER).format(source=f"TABLE ({text})", time="w2")
    columns = [Column(f"{alias}.{item.name}", item.kind) for item in named if item.name != "w2"]
    ends = [f"{alias}.window_start", f"{alias}.window_end"]
    return writer.grouped(Named(outer, alias), columns, tuple(ends))


def window_join(writer: Writer) -> Query | None:
    """A join of the aggregates of windows of two relations."""
    chance = writer.chance
    text = chance.choice(_WINDOWS[:3])
    sides, columns = [], []
    for _ in range(2):
        relation, inner, outer = writer.timed(), writer.alias(), writer.alias()
        keys = [(name, kind) for name, kind in relation.columns if kind in ("int", "str", "dec")]
        key, kind = chance.choice(keys)
        items = [Item(f"{inner}.{bound}", bound, "ts") for bound in _BOUNDS[:2]] + [Item(f"{inner}.{key}", "k", kind)]
        inputs = [Column(f"{inner}.{name}", kind) for name, kind in relation.columns]
        calls = [aggregate(chance, inputs) for _ in range(2)]
        source = Named(text.format(source=f"TABLE {relation.name}", time=relation.time), inner)
        block = Block(
            (*items, *(writer.named(*call) for call in calls)), source, (), tuple(item.text for item in items)
        )
        sides.append(Derived(block, outer))
        columns.append([Column(f"{outer}.{item.name}", item.kind) for item in block.items])
    writer.plain, writer.windowed = False, True
    on = [f"{left.text} = {right.text}" for left, right in zip(columns[0][:2], columns[1][:2], strict=True)]
    if columns[0][2].kind == columns[1][2].kind and chance.random() < 0.8:
        on.append(f"{columns[0][2].text} = {columns[1][2].text}")
    kind = chance.choice(JOINS)
    seen = columns[0] if kind in ("SEMI JOIN", "ANTI JOIN") else [*columns[0], *columns[1]]
    return Block(writer.items(seen, 2), Joined(kind, sides[0], sides[1], tuple(on)))


def bounded_join(writer: Writer) -> Query:
    """A join of two streams whose times are near each other, or whose windows are the same."""
    chance = writer.chance
    sides, columns, times = [], [], []
    text = chance.choice(_WINDOWS[:3]) if chance.random() < 0.3 else None
    for _ in range(2):
        relation, alias = writer.timed(), writer.alias()
        windows = None if text is None else text.format(source=f"TABLE {relation.name}", time=relation.time)
        sides.append(Named(relation.name if windows is None else windows, alias))
        columns.append([Column(f"{alias}.{name}", kind) for name, kind in relation.columns])
        times.append(f"{alias}.{relation.time}" if windows is None else f"{alias}.window_end")
    writer.plain, writer.windowed = False, True
    one, other = times
    seconds = f"INTERVAL '{chance.randrange(0, 30)}' SECOND"
    bounds = (
        f"{one} BETWEEN {other} - {seconds} AND {other} + {seconds}",
        f"{one} - {other} <= {seconds} AND {one} > {other}",
        f"{other} - {seconds} < {one} AND {one} <= {other} - INTERVAL '2' SECOND",
        f"{one} < {other}",
        f"{one} = {other}",
    )
    on = [chance.choice(bounds) if text is None else f"{one} = {other}"]
    on += [f"{left} = {right}" for left, right in writer.pairs(*columns)][: chance.choice([0, 1, 1, 2])]
    if chance.random() < 0.2:
        on.append(condition(chance, [*columns[0], *columns[1]]))
    kind = chance.choice(JOINS)
    source = Joined(kind, sides[0], sides[1], tuple(on))
    seen = columns[0] if kind in ("SEMI JOIN", "ANTI JOIN") else [*columns[0], *columns[1]]
    if chance.random() < 0.3:
        return writer.grouped(source, seen, ())
    return Block(writer.items(seen, 2), source, writer.conditions(seen))


def version_join(writer: Writer, depth: int) -> Query:
    """An ASOF join, or one with the version of a time."""
    chance = writer.chance
    relation, right = writer.timed(), writer.alias()
    source, columns = writer.source(depth)
    times = [column.text for column in columns if column.kind == "ts"]
    more = [Column(f"{right}.{name}", kind) for name, kind in relation.columns]
    on = [f"{left} = {other}" for left, other in writer.pairs(columns, more)]
    if not times or not on:
        return bounded_join(writer)
    writer.plain = False
    side = chance.choice(["", "LEFT "])
    if chance.random() < 0.5 or not isinstance(source, Named):
        sign = chance.choice([">=", ">", "<=", "<"])
        on.append(f"{times[0]} {sign} {right}.{relation.time}")
        joined = Joined(f"ASOF {side}JOIN", source, Named(relation.name, right), tuple(on))
    else:
        version = Named(f"{relation.name} FOR SYSTEM_TIME AS OF {times[0]}", right)
        joined = Joined(f"{side}JOIN", source, version, tuple(on))
    seen = [*columns, *more]
    if chance.random() < 0.3:
        return writer.grouped(joined, seen, ())
    return Block(writer.items(seen, 2), joined, writer.conditions(seen))


def _windowed(writer: Writer) -> tuple[Named, list[Column], list[Column]]:
    """Windows over a relation, its columns, and what the windows add."""
    chance, relation, alias = writer.chance, writer.timed(), writer.alias()
    writer.plain, writer.windowed = False, True
    source = f"TABLE {relation.name}"
    if chance.random() < 0.2:
        columns = [Column(name, kind) for name, kind in relation.columns]
        source = f"TABLE (SELECT * FROM {relation.name} WHERE {condition(chance, columns)})"
    keys = [name for name, kind in relation.columns if kind in KEYS and name != relation.time]
    text = chance.choice([*_WINDOWS, _SESSION]).format(source=source, time=relation.time, key=chance.choice(keys))
    columns = [Column(f"{alias}.{name}", kind) for name, kind in relation.columns]
    return Named(text, alias), columns, [Column(f"{alias}.{name}", "ts") for name in _BOUNDS]
