"""A scenario: what is typed into a database, step by step, and how every view of it is compared with its twin."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

import headrace
from headrace.sql.relations import Column
from headrace.sql.verify import compare

from .holding import Held
from .reports import wrong_reports
from .tree import Query, sql


@dataclass(frozen=True)
class Statement:
    """Any SQL; what it says about errors of the user is no failure."""

    text: str


@dataclass(frozen=True)
class Create:
    """A view, or a derived stream or table; `plain` if DuckDB understands the query as it is written."""

    name: str
    query: Query
    plain: bool
    tail: str = ""
    kind: str = "MATERIALIZED VIEW"
    where: str = ""
    options: str = ""

    @property
    def select(self) -> str:
        """The query: only rows for which `where` holds, if it says something."""
        return f"SELECT * FROM ({sql(self.query)}) AS q WHERE {self.where}" if self.where else sql(self.query)

    @property
    def text(self) -> str:
        return f"CREATE {self.kind} {self.name} {self.options}AS {self.select}{self.tail}"


@dataclass(frozen=True)
class Alter:
    """The view becomes what `create` says while it runs, or with `where` alone what it is, but for fewer rows."""

    create: Create | None
    name: str
    where: str = ""

    @property
    def text(self) -> str:
        return f"ALTER MATERIALIZED VIEW {self.name} AS " + (self.create.select if self.create else f"... {self.where}")


@dataclass(frozen=True)
class Recreate:
    """The view of that name is dropped and made again, unless another needs it."""

    name: str

    @property
    def text(self) -> str:
        return f"-- DROP {self.name} and CREATE it again"


@dataclass(frozen=True)
class Insert:
    """Rows, each as SQL text."""

    relation: str
    rows: tuple[str, ...]
    verb: str = "INSERT"

    @property
    def text(self) -> str:
        return f"{self.verb} INTO {self.relation} VALUES {', '.join(self.rows)}"


@dataclass(frozen=True)
class Restart:
    """The folder is closed and opened again."""

    text: str = "-- restart"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of now, whose tables are made when rows have come since, before anything else happens."""

    text: str = "CHECKPOINT"


@dataclass(frozen=True)
class Check:
    """All views are compared."""

    text: str = "VERIFY"


Step: TypeAlias = Statement | Create | Alter | Recreate | Insert | Restart | Checkpoint | Check


@dataclass(frozen=True)
class Scenario:
    """Steps in a database opened with `options`; `relations` are those that rows go into.

    Where expressions fail on some rows, views `skip` these, and may stop at what fails of pairs and groups.
    """

    steps: tuple[Step, ...]
    relations: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    skip: bool = False


@dataclass(frozen=True)
class Failure:
    """What went wrong: `kind` is the same for the same mistake in a smaller scenario."""

    kind: str
    view: str
    detail: str


@dataclass
class Figures:
    """What was tried. `refused` counts what was no view, by the reason; `stopped` has views and reasons."""

    views: int = 0
    comparisons: int = 0
    recomputed: int = 0
    altered: int = 0
    told: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, str] = field(default_factory=dict)


class Run:
    """A scenario as it runs."""

    def __init__(self, scenario: Scenario, folder: Path, figures: Figures) -> None:
        self._scenario = scenario
        self._folder = folder
        self._figures = figures
        self._views: dict[str, Create] = {}
        self._listeners: dict[str, tuple[headrace.Cursor, Counter[str]]] = {}
        self._connection = self._open()
        self._checkpoint: Held | None = None

    def go(self) -> Failure | None:
        """The first failure."""
        try:
            for step in self._scenario.steps:
                failure = self._step(step)
                if failure is not None:
                    return failure
            return None
        except headrace.Error as error:  # a view that has stopped tells whoever comes next
            if self._scenario.skip and "has stopped" in str(error):
                self._figures.stopped[str(error)] = ""
                return None
            return Failure(f"{type(error).__name__}", "", str(error))
        finally:
            self._end_checkpoint()
            self._connection.close()

    def _open(self) -> headrace.Connection:
        return headrace.connect(self._folder / "db", idle_timeout_s=0.0, durability="none", **self._scenario.options)

    def _end_checkpoint(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.end()
            self._checkpoint = None

    def _step(self, step: Step) -> Failure | None:
        if not isinstance(step, Insert | Check):
            self._end_checkpoint()
        match step:
            case Statement() | Insert():
                return self._execute(step.text)
            case Create():
                return self._create(step)
            case Alter():
                return self._alter(step)
            case Recreate():
                return self._recreate(step.name)
            case Restart():
                self._connection.close()
                self._connection = self._open()
                self._listeners = {name: self._listen(name) for name in self._listeners}
                return None
            case Checkpoint():
                self._checkpoint = Held(self._connection)
                return None
            case Check():
                return self._check()

    def _execute(self, text: str) -> Failure | None:
        try:
            self._connection.execute(text)
        except headrace.IntegrityError:
            return None
        except headrace.DataError as error:
            if self._scenario.skip:
                return None
            return Failure("DataError of a statement", "", f"{text}\n{error}")
        except Exception as error:
            return Failure(f"{type(error).__name__} of a statement", "", f"{text}\n{error}")
        return None

    def _create(self, step: Create) -> Failure | None:
        try:
            self._connection.execute(step.text)
        except (headrace.ProgrammingError, headrace.NotSupportedError) as error:
            self._figures.refused[str(error).splitlines()[0]] += 1
            return None
        except Exception as error:
            return Failure(f"{type(error).__name__} of CREATE", step.name, f"{step.text}\n{error}")
        self._views[step.name] = step
        self._figures.views += 1
        plan = "\n".join(str(row[0]) for row in self._connection.execute(f"EXPLAIN {step.select}").fetchall())
        self._figures.recomputed += "recompute" in plan
        if len(self._views) % 2 and step.kind == "MATERIALIZED VIEW":
            self._listeners[step.name] = self._listen(step.name)
        return None

    def _alter(self, step: Alter) -> Failure | None:
        """Another query for a view that runs, and that others may read and listen to."""
        known = self._views.get(step.name)
        if known is None or known.kind != "MATERIALIZED VIEW":
            return None
        new = step.create or replace(known, where=step.where)
        text = f"ALTER MATERIALIZED VIEW {step.name} {new.options}AS {new.select}{new.tail}"
        try:
            self._connection.execute(text)
        except (headrace.ProgrammingError, headrace.NotSupportedError) as error:
            self._figures.refused[str(error).splitlines()[0]] += 1
            return None
        except Exception as error:
            if self._scenario.skip and "its new version has failed" in str(error):  # on pairs or groups
                self._figures.stopped[text] = str(getattr(error, "detail", None))
                return None
            return Failure(f"{type(error).__name__} of ALTER", step.name, f"{text}\n{error}")
        self._views[step.name] = new
        self._figures.altered += 1
        return None

    def _recreate(self, name: str) -> Failure | None:
        """Drops a view, which may have shared what it kept with others, and makes it again from history."""
        if name not in self._views:
            return None
        create = self._views[name]
        try:
            self._connection.execute(f"DROP {create.kind} {name}")
        except headrace.ProgrammingError:
            return None  # another view reads it
        self._listeners.pop(name, None)
        del self._views[name]
        return self._create(create)

    def _listen(self, name: str) -> tuple[headrace.Cursor, Counter[str]]:
        return self._connection.execute(f"SUBSCRIBE {name}"), Counter()

    def _check(self) -> Failure | None:
        try:
            self._connection.flush()
        except Exception as error:
            return Failure(f"{type(error).__name__} of flush", "", str(error))
        if self._scenario.skip:
            self._drop_stopped()
            told, wrong = wrong_reports(self._connection)
            self._figures.told += told
            if wrong:
                return Failure("wrong reports", "", wrong)
        for name, view in self._views.items():
            self._figures.comparisons += 1
            try:
                failure = self._compare(name, view)
            except headrace.DataError as error:  # what is computed of groups as they are read
                failure = None if self._scenario.skip else Failure("DataError", name, str(error))
                self._figures.stopped[view.text] = str(error)
            except Exception as error:
                detail = getattr(error, "detail", None)
                failure = Failure(f"{type(error).__name__}", name, f"{error} {detail}")
            if failure is not None:
                return failure
        return None

    def _drop_stopped(self) -> None:
        """Lets go of views that have stopped, and of those that read them; each is noted down."""
        stopped = "SELECT name, kind, reason, statement FROM system.queries WHERE status = 'stopped'"
        while rows := self._connection.execute(stopped).fetchall():
            name, _, reason, statement = rows[0]
            self._figures.stopped[statement] = reason
            create = self._views[name]
            self._connection.execute(f"DROP {create.kind} {name} CASCADE")
            there = {name for (name,) in self._connection.execute("SELECT name FROM system.relations").fetchall()}
            self._views = {name: view for name, view in self._views.items() if name in there}
            self._listeners = {name: listener for name, listener in self._listeners.items() if name in there}

    def _compare(self, name: str, view: Create) -> Failure | None:
        cursor = self._connection.execute(f"VERIFY VIEW {name}")
        assert cursor.description is not None
        verdict = dict(zip([column[0] for column in cursor.description], cursor.fetchall()[0], strict=True))
        if verdict["equal"] is False:
            return Failure("not its twin", name, str(verdict))
        rows = self._connection.execute(f"SELECT * FROM {name}").fetch_arrow_table()
        if name in self._listeners:
            try:
                counts = self._heard(name)
            except headrace.OperationalError as error:
                if "has other columns, or another key, now" not in str(error):
                    raise
                self._listeners[name] = self._listen(name)
                counts = self._heard(name)
            told = {row: count for row, count in counts.items() if count}
            held = Counter(_text([*row.values()]) for row in rows.to_pylist())
            if told != held:
                only_told, only_held = Counter(told) - held, held - Counter(told)
                return Failure("a subscriber heard otherwise", name, f"heard {only_told}, holds {only_held}")
        return self._compare_plain(name, view, rows) if view.plain else None

    def _heard(self, name: str) -> Counter[str]:
        """How often each row was told of a view, less how often it was taken back."""
        listener, counts = self._listeners[name]
        while (changes := listener.next_changes(timeout_s=0.0)) is not None:
            for change in changes.to_pylist():
                sign = {"+I": 1, "+U": 1, "-U": -1, "-D": -1}[change["op"]]
                counts[_text([*change.values()][2:])] += sign
        return counts

    def _compare_plain(self, name: str, view: Create, rows: Any) -> Failure | None:
        """Against DuckDB with the query as it was written, over rows as they are read, those of other views too."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for relation in (*self._scenario.relations, *self._views):
                if relation == name:
                    break
                held = self._connection.execute(f"SELECT * FROM {relation}").fetch_arrow_table()
                connection.register(f"{relation}_rows", held)
                connection.execute(f"CREATE TABLE {relation} AS SELECT * FROM {relation}_rows")
            expected = connection.sql(view.select).to_arrow_table().cast(rows.schema)
            columns = tuple(Column(field.name, "", field.type) for field in rows.schema)
            missing, surplus = compare(connection, columns, expected, rows)
        if missing or surplus:
            return Failure("not what DuckDB says", name, f"{missing} rows missing, {surplus} surplus")
        return None


def run(scenario: Scenario, figures: Figures | None = None) -> Failure | None:
    """Runs a scenario in a folder of its own; the first failure, or None."""
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        return Run(scenario, Path(folder), Figures() if figures is None else figures).go()


def _text(values: list[Any]) -> str:
    return repr([value + 0.0 if isinstance(value, float) else value for value in values])
