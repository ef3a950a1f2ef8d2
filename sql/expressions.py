"""Scalar expressions to operators: Arrow kernels where the table has them all, else one DuckDB query per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..engine.expression import DECLINED, Kernel, Program, Projection, Step, as_array
from ..engine.kernels import cast
from ..engine.number_kernels import HUGE
from ..engine.operators.map import Map
from ..engine.screening import FailedRows, Screen
from ..storage import limits
from .casts import conversion
from .functions import AS_IS, COMMON, ELEMENT, FUNCTIONS, RESULT
from .kinds import Argument, matches
from .relations import Column
from .skipping import Screening
from .terms import Call, ColumnTerm, Constant, NoKernel, Term, sql_text, term_of
from .trees import every
from .types import connect, quote, scan_sql, translate, typed_empty


@dataclass(frozen=True)
class Skips:
    """Which rows a map fails on, and who gets them; of the rest it leaves out those for which `others` is not true."""

    screening: Screening
    others: exp.Expr | None
    report: Callable[[FailedRows], None]


def compile_map(
    items: Sequence[tuple[str, exp.Expr]],
    where: exp.Expr | None,
    input_schema: pa.Schema,
    output_schema: pa.Schema,
    *,
    input_types: Sequence[str] | None = None,
    skips: Skips | None = None,
) -> Map:
    """The operator that gives, for each row where `where` is true, the named `items`.

    Columns in the expressions are unqualified and named exactly as in `input_schema`; the results get the types of
    `output_schema`. `input_types` are the DuckDB types of the columns where Arrow's do not say (HUGEINT, UUID, ...).
    `skips` says which rows may be computed, and gets the others; without it they are an error.
    """
    types = input_types or _sql_types(input_schema)
    columns = tuple(Column(field.name, type, field.type) for field, type in zip(input_schema, types, strict=True))
    values = [item for _, item in items]
    asked = None if skips is None else skips.screening.asked
    projection = _projection(values, where, columns, input_schema, output_schema, asked=asked, whole=skips is not None)
    screen = None
    if skips is not None:
        told = pa.schema([("sound", pa.bool_())])
        likely, sound = (
            None if each is None else _projection([each], asked, columns, input_schema, told)
            for each in (skips.screening.likely, skips.screening.sound)
        )
        assert sound is not None
        others = None if skips.others is None else _projection([exp.true()], skips.others, columns, input_schema, told)
        screen = Screen(likely, sound, projection, skips.report, others)
    try:
        terms = [term_of(value) for value in values]
        passes = None if where is None else _boolean(term_of(where))
        bound = _bind([*terms, *([] if passes is None else [passes])], columns)
        program = _Compiler(columns, bound).program(terms, output_schema.types)
        mask = None if passes is None else _Compiler(columns, bound).program([passes], [pa.bool_()])
    except NoKernel as reason:
        return Map(items=None, where=None, projection=projection, reason=str(reason), screen=screen)
    return Map(items=program, where=mask, projection=projection, screen=screen)


def _boolean(term: Term) -> Call:
    return Call("cast", (term,), f"CAST({term.text} AS BOOLEAN)")


def _sql_types(schema: pa.Schema) -> list[str]:
    """The DuckDB types that Arrow columns most likely come from: 38 digits without a scale are a HUGEINT's."""
    connection = connect()
    connection.register("input", schema.empty_table())
    types = [str(type) for type in connection.sql('SELECT * FROM "input"').types]
    return ["HUGEINT" if type == "DECIMAL(38,0)" else type for type in types]


def _projection(
    values: Sequence[exp.Expr],
    where: exp.Expr | None,
    columns: tuple[Column, ...],
    schema: pa.Schema,
    output: pa.Schema,
    *,
    asked: exp.Expr | None = None,
    whole: bool = False,
) -> Projection:
    """The query for all of it, over the columns it names and the row number, called by a name that none of them has.

    As a `whole`, all of `where` is computed of each row for which `asked`, a part of it, is true. Otherwise DuckDB may
    leave out what comes behind OR and AND, and which rows that fails on depends on those beside them.
    """
    named = {
        column.name for node in [*values, *([] if where is None else [where])] for column in every(node, exp.Column)
    }
    read = tuple(i for i, column in enumerate(columns) if column.name in named)
    names, row = {columns[i].name.lower() for i in read}, "row"
    while {row, f"{row}_"} & names:
        row += "_"
    source = scan_sql("input", [*(columns[i] for i in read), Column(row, "BIGINT", pa.int64())])
    results = ", ".join([*(f"({sql_text(value)})" for value in values), quote(row)])
    query = f"SELECT {results} FROM ({source})"
    if whole and where is not None:
        first = "" if asked is None else f" WHERE ({sql_text(asked)})"
        inner = f"SELECT *, CAST(({sql_text(where)}) AS BOOLEAN) AS {row}_ FROM ({source}){first} OFFSET 0"
        query = f"SELECT {results} FROM ({inner}) WHERE {row}_"
    elif where is not None:
        query += f" WHERE ({sql_text(where)})"
    return Projection(
        query=query, columns=read, schema=schema, row=row, output=output, open=connect, translate=translate
    )


def _bind(terms: Sequence[Term], columns: tuple[Column, ...]) -> dict[str, str]:
    """The DuckDB type of each sub-expression, by its text; of comparisons also the type they compare in."""
    known = {quote(column.name): column.type for column in columns}
    texts = {text: None for term in terms for text in _texts(term) if text not in known}
    if not texts:
        return known
    try:
        relation = connect().sql(f"SELECT {', '.join(texts)} FROM {typed_empty(columns)}")
    except duckdb.Error as error:
        raise NoKernel(translate(error).headline) from None
    return known | {text: str(type) for text, type in zip(texts, relation.types, strict=True)}


def _texts(term: Term) -> Iterator[str]:
    yield term.text
    if isinstance(term, Call):
        for argument in term.arguments:
            yield from _texts(argument)
        if any(COMMON in row.align for row in FUNCTIONS if row.name == term.name):
            yield _common_text(term)


def _common_text(call: Call) -> str:
    """SQL whose type is the one that DuckDB brings all arguments to before it compares them."""
    *branches, last = [argument.text for argument in call.arguments]
    return "CASE " + " ".join(f"WHEN TRUE THEN {text}" for text in branches) + f" ELSE {last} END"


@lru_cache(limits.BOUND_QUERIES_MAX)
def _evaluate(text: str) -> pa.Scalar:
    """The value of an expression without columns: one row in DuckDB."""
    try:
        return connect().sql(f"SELECT {text}").to_arrow_table().column(0)[0]
    except duckdb.Error as error:
        raise NoKernel(translate(error).headline) from None


Place = tuple[str, int]  # ("column" | "constant" | "step", which)


@dataclass(frozen=True)
class _Value:
    """A computed term: where it is, and what the table of functions needs to know of it."""

    place: Place
    text: str
    argument: Argument


class _Compiler:
    """Terms to a program; a text that occurs twice is computed once."""

    def __init__(self, columns: tuple[Column, ...], bound: Mapping[str, str]) -> None:
        self._columns = columns
        self._index = {column.name: i for i, column in enumerate(columns)}
        self._bound = bound
        self._values: dict[str, _Value] = {}
        self._used: list[int] = []
        self._constants: list[pa.Scalar] = []
        self._steps: list[tuple[Kernel, list[Place]]] = []

    def program(self, terms: Sequence[Term], types: Sequence[pa.DataType]) -> Program:
        """The program whose results are the `terms` with the Arrow `types`. Raises: NoKernel."""
        places = [self._value(term).place for term in terms]
        program = self._assemble(places)
        for i, (term, have, want) in enumerate(zip(terms, self._trial(program, terms), types, strict=True)):
            if have != want:
                if not _widens(have, want):
                    raise NoKernel(f"{have} for {want} in {term.text}")
                places[i] = self._step(cast(want), [places[i]])
        return self._assemble(places)

    def _value(self, term: Term) -> _Value:
        if term.text not in self._values:
            self._values[term.text] = self._compute(term)
        return self._values[term.text]

    def _compute(self, term: Term) -> _Value:
        match term:
            case ColumnTerm():
                index = self._index[term.name]
                if index not in self._used:
                    self._used.append(index)
                place = ("column", self._used.index(index))
                return _Value(place, term.text, Argument(self._columns[index].type))
            case Constant():
                return self._constant(term.text, self._bound[term.text])
            case Call():
                return self._call(term)

    def _constant(self, text: str, type: str) -> _Value:
        scalar = _evaluate(text)
        self._constants.append(scalar)
        return _Value(("constant", len(self._constants) - 1), text, Argument(type, scalar))

    def _step(self, kernel: Kernel, places: Sequence[Place]) -> Place:
        self._steps.append((kernel, list(places)))
        return ("step", len(self._steps) - 1)

    def _call(self, call: Call) -> _Value:
        result = self._bound[call.text]
        values = [self._value(argument) for argument in call.arguments]
        if call.name == "cast":
            return self._as(values[0], result)
        for row in FUNCTIONS:
            if row.name != call.name or len(values) < len(row.takes):
                continue
            targets = {RESULT: result, ELEMENT: result.removesuffix("[]")}
            targets[COMMON] = self._bound.get(_common_text(call), "")
            try:
                aligned = [
                    self._as(value, targets.get(policy, policy))
                    for value, policy in zip(values, _repeated(row.align, len(values)), strict=True)
                ]
            except NoKernel:
                continue
            arguments = [value.argument for value in aligned]
            if not all(map(matches, arguments, _repeated(row.takes, len(values)))):
                continue
            kernel = row.build(arguments, Argument(result).type)
            if kernel is not None:
                return _Value(self._step(kernel, [value.place for value in aligned]), call.text, Argument(result))
        raise NoKernel(f"{call.name}({', '.join(value.argument.sql_type for value in values)})")

    def _as(self, value: _Value, type: str) -> _Value:
        """The value as another DuckDB type, as CAST gives it."""
        if type in (AS_IS, value.argument.sql_type):
            return value
        text = f"CAST({value.text} AS {type})"
        if text not in self._values:
            if value.argument.constant is not None:
                self._values[text] = self._constant(text, type)
            else:
                kernel = conversion(value.argument, Argument(type))
                if kernel is None:
                    raise NoKernel(f"a cast from {value.argument.sql_type} to {type}")
                self._values[text] = _Value(self._step(kernel, [value.place]), text, Argument(type))
        return self._values[text]

    def _assemble(self, results: Sequence[Place]) -> Program:
        start = {"column": 0, "constant": len(self._used), "step": len(self._used) + len(self._constants)}

        def registers(places: Sequence[Place]) -> tuple[int, ...]:
            return tuple(start[space] + index for space, index in places)

        steps = tuple(Step(kernel, registers(places)) for kernel, places in self._steps)
        return Program(tuple(self._used), tuple(self._constants), steps, registers(results))

    def _trial(self, program: Program, terms: Sequence[Term]) -> list[pa.DataType]:
        """The Arrow types the program gives, found by running it over no rows."""
        empty = [pa.array([], self._columns[i].arrow) for i in program.columns]
        try:
            return [as_array(result, 0).type for result in program.run(empty)]
        except (*DECLINED, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise NoKernel(f"{', '.join(term.text for term in terms)}: {error}") from None


def _repeated(policies: tuple[str, ...], count: int) -> list[str]:
    return [policies[min(i, len(policies) - 1)] for i in range(count)]


def _widens(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether a checked Arrow cast keeps values: NULLs, numbers of a kind, and moments under another zone's name."""
    same = pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal
    if pa.types.is_null(have) or any(test(have) and test(want) for test in same):
        return True
    if pa.types.is_integer(have) and want == HUGE:
        return True
    return pa.types.is_timestamp(have) and pa.types.is_timestamp(want) and (have.tz is None) == (want.tz is None)
