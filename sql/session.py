"""One connection's statements, each to its doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from sqlglot import exp

from ..storage.errors import NotSupportedError, ProgrammingError
from ..storage.readable import ReadableTopic
from ..storage.topic import Appended
from . import plan as p
from .advancing import moment
from .alterations import AlterStream, RenameView, Resume
from .altering import alter, delete
from .changing import delete_rows, update
from .comments import comment
from .database import Database
from .dropping import drop
from .evolving import Unnamed
from .explaining import explained
from .late_target import refuse_late_target
from .looking_back import Replay
from .outputs import engine_name
from .pacing import Pace
from .past import cut_of
from .problems import failures
from .query_options import with_defaults
from .reading import Parameters, Rows, select
from .relations import Relation
from .renaming import rename_view
from .replaying import replay
from .restarting import resume
from .returning import Answer, Returning, ignore, told
from .setting_statements import Reset, Set
from .settings import Settings
from .show import show
from .skipping import refuse_on_error
from .state_ttl import live_ttl, notes_on_hints
from .statements import (
    Checkpoint,
    Comment,
    Copy,
    CopyTo,
    CreateDerived,
    CreateStream,
    CreateTable,
    CreateView,
    Delete,
    DeleteRows,
    Describe,
    Drop,
    Emit,
    Explain,
    Insert,
    Select,
    Show,
    Statement,
    Subscribe,
    Update,
    Verify,
)
from .subscribing import Live, refuse_kept, subscribe
from .verify import verify
from .view_plan import notes_on_ttl
from .writing import copy, insert, require_stream, require_written
from .writing_files import write_file


@dataclass(frozen=True)
class Outcome:
    """What a statement came to: rows, or a live query, or neither. `tag` as PostgreSQL writes command tags."""

    tag: str
    rows: Rows | None = None
    live: Live | None = None
    rowcount: int = -1
    notices: list[str] = field(default_factory=list)


class Session:
    """Runs statements; reads wait for what it has written itself."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.settings = Settings(database)
        self._written: dict[ReadableTopic, list[int]] = {}  # where the rows of this connection end, by partition
        self._problems = {problem.what: problem.notice for problem in failures(database)}
        self._notices = list(database.notices)  # what opening found, told with the first statement
        self.flush_target()

    def run(self, statement: Statement, parameters: Parameters = None) -> Outcome:
        """Do what the statement says, whole or not at all."""
        if parameters and not isinstance(statement, Select | Insert | Update | DeleteRows):
            raise ProgrammingError("only queries and changes of rows take parameters", position=statement.start)
        self.database.refresh()
        if self.database.read_only:
            self.flush_target()  # what the owner has written by now is what its readers expect
        outcome = self._run(with_defaults(statement, self.settings.of_queries), parameters)
        notices, self._notices = [*self._notices, *self._new_problems()], []
        return replace(outcome, notices=[*notices, *outcome.notices]) if notices else outcome

    def _new_problems(self) -> list[str]:
        """What has gone wrong since the last statement, each told once for as long as it lasts."""
        known, self._problems = self._problems, {problem.what: problem.notice for problem in failures(self.database)}
        return sorted(notice for what, notice in self._problems.items() if what not in known)

    @property
    def _waits(self) -> bool:
        return not self.settings["background_ddl"]

    def _run(self, statement: Statement, parameters: Parameters) -> Outcome:
        match statement:
            case Select(emit=None):
                rows = select(self.database, statement.query, parameters, self._ends(), statement.as_of)
                notices = [*notes_on_hints(statement), *rows.notices]
                return Outcome(f"SELECT {rows.table.num_rows}", rows, rowcount=rows.table.num_rows, notices=notices)
            case Select():
                assert statement.emit is not None
                refuse_late_target(statement.emit)
                refuse_on_error(statement.emit)
                final = statement.emit.mode == "FINAL"
                weights = statement.emit.mode == "CHANGELOG"
                lateness_us = statement.emit.lateness_us
                return self._subscribe(
                    statement,
                    Pace(statement.emit.every_us),
                    snapshot=True,
                    weights=weights,
                    final=final,
                    lateness_us=lateness_us,
                )
            case Subscribe():
                until_us = None if statement.until is None else moment(statement.until, statement.until_position)
                pace = Pace(statement.every_us, statement.as_of, statement.until_epoch, until_us)
                return self._subscribe(
                    statement, pace, snapshot=statement.snapshot, weights=statement.changelog, final=False
                )
            case Insert(emit=Emit()):
                if parameters:
                    raise ProgrammingError("a query that goes on cannot have parameters", position=statement.start)
                with self.database.lock:
                    target = require_stream(self.database, statement.name, statement.position)
                    if target.query is not None:
                        target = require_written(self.database, statement.name, statement.position)
                    return Outcome("CREATE QUERY", notices=self.database.queries.insert(statement, target))
            case Insert():
                answer = self._answer(statement, statement.name.split(".")[-1])
                count, appended = insert(self.database, statement, parameters, self._ends(), answer)
                self.wrote(statement.name, appended)
                return Outcome(f"INSERT 0 {count}", told(answer), rowcount=count, notices=notes_on_hints(statement))
            case CopyTo(emit=Emit()):
                with self.database.lock:
                    return Outcome("CREATE QUERY", notices=self.database.queries.copy(statement))
            case CopyTo():
                rows = select(self.database, statement.query, None, self._ends())
                write_file(rows, statement)
                notices = notes_on_hints(statement)
                return Outcome(f"COPY {rows.table.num_rows}", rowcount=rows.table.num_rows, notices=notices)
            case Copy():
                count, appended = copy(self.database, statement)
                self.wrote(statement.name, appended)
                return Outcome(f"COPY {count}", rowcount=count)
            case Update():
                answer = self._answer(statement, statement.alias)
                count, appended = update(self.database, statement, parameters, self._ends(), answer)
                self.wrote(statement.name, appended)
                return Outcome(f"UPDATE {count}", told(answer), rowcount=count)
            case DeleteRows():
                answer = self._answer(statement, statement.alias)
                count, appended = delete_rows(self.database, statement, parameters, self._ends(), answer)
                self.wrote(statement.name, appended)
                return Outcome(f"{statement.word} {count}", told(answer), rowcount=count)
            case CreateStream():
                kind = "TABLE" if isinstance(statement, CreateTable) else "STREAM"
                return self._create(statement, lambda old: self.database.create_stream(statement, old), kind)
            case CreateDerived():
                return self._create(statement, lambda old: self.database.queries.create(statement, old), statement.kind)
            case CreateView(altered=True):
                return self._replace_view(statement)
            case CreateView(or_replace=True, materialized=True) if self._replaceable(statement.name):
                return self._replace_view(statement)
            case CreateView():
                kind = "MATERIALIZED VIEW" if statement.materialized else "VIEW"
                return self._create(statement, lambda old: self._create_view(statement, old), kind)
            case AlterStream():
                return Outcome(f"ALTER {statement.kind}", notices=alter(self.database, statement))
            case Resume():
                partial = self.settings["allow_partial_history"]
                notices = resume(self.database, statement, wait=self._waits, partial=partial)
                return Outcome(f"ALTER {statement.kind}", notices=[*notices, *self._built(statement.name)])
            case RenameView():
                return Outcome(f"ALTER {statement.kind}", notices=rename_view(self.database, statement))
            case Comment():
                comment(self.database, statement)
                return Outcome("COMMENT")
            case Delete():
                count, notices = delete(self.database, statement)
                return Outcome(f"DELETE {count}", rowcount=count, notices=notices)
            case Drop():
                return Outcome(f"DROP {statement.kind}", notices=drop(self.database, statement))
            case Explain():
                return Outcome(
                    "EXPLAIN",
                    explained(self.database, statement, self._ends(), self.settings.of_queries),
                )
            case Verify():
                return self._verify(statement)
            case Replay():
                tag, rows, notice = replay(self.database, statement)
                return Outcome(tag, rows, rowcount=rows.table.num_rows, notices=[notice])
            case Checkpoint():
                self.database.engine.wait(self._ends())
                self.database.checkpoint()
                return Outcome("CHECKPOINT")
            case Show() | Describe():
                self.database.engine.wait(self._ends())
                rows = show(self.database, statement)
                return Outcome(f"SHOW {rows.table.num_rows}", rows, rowcount=rows.table.num_rows)
            case Set() | Reset():
                return self._set(statement)
            case _:
                raise AssertionError(f"no session code for {type(statement).__name__}")

    def _answer(self, statement: Insert | Update | DeleteRows, alias: str) -> Answer:
        """What looks at the rows that the statement changes."""
        if statement.returning is None:
            return ignore
        target = self.database.relations.require(statement.name, statement.position)
        return Returning(statement.returning, target, alias, self.database.binder)

    # -- what was written -----------------------------------------------------------------------------------------

    def wrote(self, stream: str, appended: Sequence[Appended]) -> None:
        """Remember rows of this connection, so that its reads see them."""
        topic = self.database.log.topic(self.database.relations.require(stream).name)
        ends = self._written.setdefault(topic, [0] * len(topic.partitions))
        for part in appended:
            ends[part.partition] = max(ends[part.partition], part.end)

    def flush_target(self) -> Mapping[str, list[int]]:
        """All that any stream holds now, as what this connection's reads must cover."""
        for relation in list(self.database.relations):
            if relation.logged:
                topic = self.database.log.topic(relation.name)
                topic.sync()
                ends = self._written.setdefault(topic, [0] * len(topic.partitions))
                ends[:] = map(max, ends, [partition.end_offset for partition in topic.partitions])
        return self._ends()

    def _ends(self) -> dict[str, list[int]]:
        """What reads must cover, by stream; a topic that was dropped since, even if its name lives on, is forgotten."""
        topics = self.database.log.topics
        self._written = {topic: ends for topic, ends in self._written.items() if topics.get(topic.name) is topic}
        return {topic.name: ends for topic, ends in self._written.items()}

    # -- statements -----------------------------------------------------------------------------------------------

    def _create(
        self,
        statement: CreateStream | CreateDerived | CreateView,
        create: Callable[[Relation | None], list[str]],
        kind: str,
    ) -> Outcome:
        with self.database.lock:
            existing = self.database.relations.get(statement.name)
            if existing is not None:
                if statement.if_not_exists:
                    return Outcome(f"CREATE {kind}", notices=[f'"{existing.name}" exists already; nothing was done'])
                if not statement.or_replace:
                    raise ProgrammingError(
                        f'"{existing.name}" exists already',
                        detail=f"It is a {existing.kind.lower()}.",
                        hint=f"CREATE {kind} IF NOT EXISTS leaves it, CREATE OR REPLACE {kind} replaces it.",
                        position=statement.start,
                        sqlstate="42P07",
                    )
                readers = ", ".join(f'"{reader.name}"' for reader in self.database.dependents(existing.name))
                if existing.kind != kind or readers:
                    other = f"It is a {existing.kind.lower()}, and only another one can take its place."
                    raise NotSupportedError(
                        f'cannot replace "{existing.name}"',
                        detail=other if existing.kind != kind else f"Read by {readers}, which would lose its rows.",
                        hint=f"DROP {existing.kind} {existing.name} first" + (" with CASCADE." if readers else "."),
                        position=statement.start,
                    )
            notices = create(existing)
        return Outcome(f"CREATE {kind}", notices=[*notices, *self._built(statement.name)])

    def _built(self, name: str) -> list[str]:
        """What there is to say of a query that was created: returns when it is through history, if it is waited for."""
        engine, names = self.database.engine, {name, engine_name(name)}
        if names.isdisjoint(engine.backfills()):
            return []
        if not self._waits:
            return [f'"{name}" is built in the background: SHOW QUERIES says how far it is']
        engine.wait({}, names)
        self.database.checkpointer.keep()
        return []

    def _replaceable(self, name: str) -> bool:
        known = self.database.relations.get(name)
        return known is not None and known.kind == "MATERIALIZED VIEW"

    def _replace_view(self, statement: CreateView) -> Outcome:
        """A materialized view that is there becomes another one."""
        old = self.database.relations.require(statement.name, statement.start)
        if old.kind != "MATERIALIZED VIEW":
            hint = f"It is a {old.kind.lower()}."
            raise ProgrammingError(f'"{old.name}" is not a materialized view', hint=hint, position=statement.start)
        assert self.database.folder, "it raises where the database is open for reading only"
        self._refuse_recompute(statement.query, final=False)
        partial = self.settings["allow_partial_history"]
        notices = self.database.evolving.replace(statement, old, wait=self._waits, partial=partial)
        return Outcome("ALTER MATERIALIZED VIEW" if statement.altered else "CREATE MATERIALIZED VIEW", notices=notices)

    def _create_view(self, statement: CreateView, replaced: Relation | None) -> list[str]:
        self._refuse_recompute(statement.query, final=False) if statement.materialized else None
        return self.database.create_view(statement, replaced)

    def _refuse_recompute(self, query: exp.Query, *, final: bool) -> None:
        if self.settings["allow_recompute"]:
            return
        planned = self.database.plan(query, final=final)
        for node in p.walk(planned.plan):
            if isinstance(node, p.Recompute):
                raise NotSupportedError(
                    f"this query needs recompute ({node.reason})",
                    detail="allow_recompute is off, and no incremental operator does this yet.",
                    hint="SET allow_recompute = on, or see EXPLAIN for the part that needs it.",
                )

    def _verify(self, statement: Verify) -> Outcome:
        if statement.name is not None:
            relation = self.database.relations.require(statement.name, statement.start)
            if not (relation.kept or self.database.queries.get(relation.name)) or relation.kind == "QUERY":
                raise ProgrammingError(
                    f'"{relation.name}" is not a materialized view, a table or a derived stream',
                    detail="Only what is kept can differ from its query.",
                    position=statement.start,
                )
            names = [relation.name]
        else:
            names = [
                relation.name
                for relation in self.database.relations
                if relation.kept or (relation.kind == "STREAM" and self.database.queries.get(relation.name))
            ]
        cut = None if statement.as_of is None else cut_of(self.database, statement.as_of)
        verdicts = [verify(self.database, name, self._ends(), cut) for name in names]
        table = pa.table(
            {
                "view": pa.array([v.view for v in verdicts], pa.string()),
                "equal": pa.array([v.equal for v in verdicts], pa.bool_()),
                "rows": pa.array([v.rows for v in verdicts], pa.int64()),
                "twin_rows": pa.array([v.twin_rows for v in verdicts], pa.int64()),
                "missing": pa.array([v.missing for v in verdicts], pa.int64()),
                "surplus": pa.array([v.surplus for v in verdicts], pa.int64()),
            }
        )
        return Outcome(
            "VERIFY FAILED" if any(verdict.equal is False for verdict in verdicts) else "VERIFY",
            Rows(table, ("VARCHAR", "BOOLEAN", "BIGINT", "BIGINT", "BIGINT", "BIGINT")),
            rowcount=len(verdicts),
            notices=[f'"{v.view}" cannot be compared: {v.doubt}' for v in verdicts if v.equal is None],
        )

    def _set(self, statement: Set | Reset) -> Outcome:
        self.settings.change(statement)
        return Outcome("RESET" if isinstance(statement, Reset) else "SET")

    def _subscribe(
        self,
        statement: Select | Subscribe,
        pace: Pace,
        *,
        snapshot: bool,
        weights: bool,
        final: bool,
        lateness_us: int = 0,
    ) -> Outcome:
        query, notices = statement.query, list[str]()
        ttl_us = live_ttl(statement, self.settings.of_queries)
        if not final:
            refuse_kept(self.database, statement)

        def planned() -> Unnamed:
            self._refuse_recompute(query, final=final)
            plan = self.database.plan(query, final=final, lateness_us=lateness_us).expiring(ttl_us)
            notices.extend(notes_on_ttl(plan))
            return Unnamed(query, plan, lateness_us)

        live = subscribe(
            self.database, query, planned, self._ends(), snapshot=snapshot, weights=weights, final=final, pace=pace
        )
        return Outcome("SUBSCRIBE", live=live, notices=notices)
