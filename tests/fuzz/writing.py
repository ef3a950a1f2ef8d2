"""Random scenarios: schemas, rows that are late, missing or twice, views, changes, restarts and epoch cuts."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .expressions import TYPES, condition, expression, value
from .generator import Writer, Written
from .scenario import Alter, Check, Checkpoint, Create, Insert, Recreate, Restart, Scenario, Statement, Step
from .tree import Column, Relation

_STREAM = (("k", "int"), ("n", "int"), ("s", "str"), ("d", "dec"), ("x", "dbl"), ("b", "bool"), ("ts", "ts"))
_SMALL = (("k", "int"), ("s", "str"), ("d", "dec"))


def scenario(seed: int, *, views: int = 6, depth: int = 3, skip: bool = False) -> Scenario:
    """The scenario of a seed; its views skip rows on which they fail, or nothing fails."""
    chance = Random(seed)
    raw: tuple[tuple[str, str], ...] = (("v", "raw"),) if skip else ()
    events = Relation("events", (*_STREAM, *raw), "ts")
    others = Relation("others", (*chance.sample(_STREAM[:-1], 4), _STREAM[-1], *raw), "ts")
    names = Relation("names", (*_SMALL, *raw))
    stock = Relation("stock", (("id", "int"), *_SMALL, *raw))
    bag = Relation("bag", (*_SMALL, *raw))
    relations = (events, others, names, stock, bag)
    steps: list[Step] = [Statement(_create(chance, relation)) for relation in relations]
    second = chance.randrange(0, 100)
    readable = list(relations)
    known: list[Written] = []
    for number in range(views):
        written = Writer(chance, readable, known).write(chance.randrange(1, depth + 1))
        known.append(written)
        name = f"v{number}"
        keeper = _keeper(chance, name, written)
        steps.append(replace(keeper, plain=False, options="WITH (on_error = 'skip') ") if skip else keeper)
        if chance.random() < 0.3:
            readable.append(Relation(name, tuple((item.name, item.kind) for item in written.query.columns)))
        if chance.random() < 0.5:
            second = _change(chance, relations, steps, second)
    for _ in range(chance.randrange(3, 7)):
        if chance.random() < 0.4:
            steps.append(Checkpoint())
        second = _change(chance, relations, steps, second)
        if chance.random() < 0.7:
            steps.append(Check())
        if chance.random() < 0.3:
            alteration = _alteration(chance, relations, known, chance.randrange(views))
            if skip and alteration.create is not None:
                created = replace(alteration.create, plain=False, options="WITH (on_error = 'skip') ")
                alteration = replace(alteration, create=created)
            steps.append(alteration)
        if skip and chance.random() < 0.2:
            steps.append(Statement("CHECKPOINT"))
        if chance.random() < 0.15:
            steps.append(Recreate(f"v{chance.randrange(views)}"))
        if chance.random() < 0.15:
            steps.append(Restart())
            if chance.random() < 0.3:  # while the log is still read again
                second = _change(chance, relations, steps, second)
                steps.append(Restart())
            steps.append(Check())
    steps.append(Check())
    options = {
        "rows_per_epoch": chance.choice([1, 2, 5, 17, 65_536]),
        "default_partitions": chance.choice([1, 1, 3]),
    }
    return Scenario(tuple(steps), tuple(relation.name for relation in relations), options, skip)


def _alteration(chance: Random, relations: tuple[Relation, ...], known: list[Written], number: int) -> Alter:
    """What a view becomes: mostly fewer rows of the same, so that who listens hears the difference."""
    columns = [Column(item.name, item.kind) for item in known[number].query.columns]
    if chance.random() < 0.6:
        return Alter(None, f"v{number}", condition(chance, columns))
    written = Writer(chance, list(relations), []).write(chance.randrange(1, 3))
    return Alter(Create(f"v{number}", written.query, written.plain), f"v{number}")


def _keeper(chance: Random, name: str, written: Written) -> Create:
    """What keeps the result of a query: mostly a view."""
    if written.windowed and chance.random() < 0.3:
        tail = chance.choice([" EMIT FINAL", " EMIT FINAL", " EMIT FINAL ALLOW LATENESS INTERVAL '10' SECOND"])
        return Create(name, written.query, False, tail)
    if written.windowed and chance.random() < 0.1:
        return Create(name, written.query, False, " EMIT CHANGES ALLOW LATENESS INTERVAL '15' SECOND")
    if chance.random() < 0.15:
        return Create(name, written.query, False, kind="STREAM" if written.windowed else "TABLE")
    return Create(name, written.query, written.plain)


def _create(chance: Random, relation: Relation) -> str:
    columns = [f"{name} {TYPES[kind]}" for name, kind in relation.columns]
    if relation.name in ("stock", "bag"):
        return f"CREATE TABLE {relation.name} ({', '.join(columns)}{', PRIMARY KEY (id)' * (relation.name == 'stock')})"
    if relation.time is not None:
        columns.append(f"WATERMARK FOR ts AS ts - INTERVAL '{chance.choice([0, 5, 20])}' SECOND")
    key = " PARTITIONED BY (k)" if chance.random() < 0.3 and ("k", "int") in relation.columns else ""
    return f"CREATE STREAM {relation.name} ({', '.join(columns)}){key}"


def _change(chance: Random, relations: tuple[Relation, ...], steps: list[Step], second: int) -> int:
    """A few inserts, and for tables updates and deletions; the second that event time has come to."""
    for relation in chance.sample(relations, chance.randrange(1, 4)):
        columns = [Column(name, kind) for name, kind in relation.columns if kind != "raw"]
        if relation.name in ("stock", "bag") and chance.random() < 0.5:
            where = f" WHERE {condition(chance, columns)}" if chance.random() < 0.9 else ""
            kind, name = chance.choice([(k, n) for n, k in relation.columns if n != "id"])
            update = f"UPDATE {relation.name} SET {name} = {expression(chance, kind, columns)}{where}"
            steps.append(Statement(chance.choice([update, f"DELETE FROM {relation.name}{where}"])))
            continue
        rows = []
        for _ in range(chance.randrange(1, 12)):
            rows.append([value(chance, kind, second=second) for _, kind in relation.columns])
            if relation.name == "stock":
                rows[-1][0] = str(chance.randrange(1, 15))
            if chance.random() < 0.1:
                rows.append(rows[-1])
        verb = "INSERT"
        if relation.name == "stock":
            verb = "INSERT OR REPLACE"
            rows = [*{row[0]: row for row in rows}.values()]
        steps.append(Insert(relation.name, tuple(f"({', '.join(row)})" for row in rows), verb))
    return second + chance.randrange(0, 30)
