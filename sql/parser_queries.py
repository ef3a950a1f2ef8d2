"""Reading queries: sqlglot makes the tree, DuckDB's own parser confirms the text, and nothing is dropped in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, UnsupportedError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.tokenizer_core import Token, TokenType

from ..storage.errors import Error, NotSupportedError, Position, ProgrammingError
from .aggregate_names import AGGREGATE_NAMES
from .fidelity import Complaint, Parsed, accepts, difference, parse, reserved_words, same_words
from .hints import OPENING, check_hints, read_hints
from .lexer import Tokenizer
from .parser_ksql import KsqlWindowParser
from .parser_windows import SpottedError, WindowParser, unexpected
from .positions import Source, position_of, position_of_token
from .rewrites import rewrite
from .time_to_live import HINT
from .trees import copied, every, every_node
from .window_function import WindowFunction, window_sql

SYSTEM_SCHEMAS = ("system", "information_schema")
T = TypeVar("T")


_TYPED = (  # calls that the planner looks into, or whose IGNORE NULLS or WITHIN GROUP only sqlglot's own nodes print
    "AVG", "COALESCE", "COUNT", "FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE", "NULLIF", "PERCENTILE_CONT",
    "PERCENTILE_DISC", "SUM", "UNNEST",
)  # fmt: skip


def _aggregate(name: str) -> Callable[[list[Any]], exp.Expr]:
    return lambda arguments: exp.AnonymousAggFunc(this=name, expressions=arguments)


class QueryParser(KsqlWindowParser):
    """The parser of our dialect: windows, `:name` parameters, a place for every interval, and calls as written.

    sqlglot gives many functions another name, cuts arguments off or spells them out, to suit other databases. Ours
    goes to DuckDB alone, so a call stays what it was, but for the few that the planner looks into.
    """

    FUNCTIONS: ClassVar[dict[str, Any]] = {
        **{name.upper(): _aggregate(name) for name in AGGREGATE_NAMES},
        **{name: WindowParser.FUNCTIONS[name] for name in _TYPED},
    }
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: WindowParser.FUNCTION_PARSERS[name]
        for name in ("CAST", "MAX", "MIN", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "TRY_CAST")
    } | {"EXTRACT": lambda self: self._parse_part()}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: parse
        for name, parse in WindowParser.NO_PAREN_FUNCTION_PARSERS.items()
        if name in ("ANY", "CASE", "MAP", "@")
    }
    JSON_OPERATORS: ClassVar[dict[TokenType, Any]] = {
        TokenType.ARROW: lambda self, this, path: self.expression(exp.JSONExtract(this=this, expression=path)),
        TokenType.DARROW: lambda self, this, path: self.expression(exp.JSONExtractScalar(this=this, expression=path)),
    }
    PLACEHOLDER_PARSERS: ClassVar[dict[TokenType, Callable[[Any], Any]]] = {
        **WindowParser.PLACEHOLDER_PARSERS,
        TokenType.COLON: lambda self: self._parse_named_parameter(),
    }

    def run(self, parse: Callable[[QueryParser], T], tokens: Sequence[Token], source: Source) -> tuple[T, int]:
        """What `parse` makes of the tokens, and how many it took.

        Raises: ProgrammingError or NotSupportedError at the token that it cannot take.
        """
        self.reset()
        self.sql = source.text
        self._source = source
        self._chunks = [list(tokens)]
        self._advance_chunk()
        try:
            found = parse(self)
            _set_hints_aside(found)
            return found, self._index
        except SpottedError as spotted:
            raise spotted.error from None
        except RecursionError:
            raise ProgrammingError(
                "the statement is nested too deeply", hint="Cut it into views.", position=position_of_token(tokens[0])
            ) from None
        except ParseError as error:
            said = str(error.errors[0].get("description", "")) if error.errors else ""
            ours = said and not any(part in said for part in ("nexpected token", "class 'sqlglot", "Failed to"))
            detail = f"{said}." if ours else None
            raise unexpected(self._curr or None, self._prev or tokens[-1], detail=detail) from None

    def parse_query(self) -> exp.Expr | None:
        """A whole query, in parentheses or not."""
        tree: exp.Expr | None = self._parse_query_modifiers(self._parse_set_operations(self._parse_select(nested=True)))
        return tree

    def _kv_to_prop_eq(self, expressions: list[exp.Expr], parse_map: bool = False) -> list[exp.Expr]:
        for pair in expressions:
            if isinstance(pair, self.KEY_VALUE_DEFINITIONS) and pair.this is None:
                self.raise_error("A struct names each of its values, as in {'a': 1}")
        return super()._kv_to_prop_eq(expressions, parse_map)

    def _parse_hint(self) -> exp.Hint | None:
        """What is said right after SELECT; DuckDB sees nothing of it."""
        start, end = self._prev.end + 1, self._curr.start if self._curr else len(self.sql)
        if OPENING not in self.sql[start:end]:
            return None
        try:
            said = read_hints(self._source, start, end)
        except Error as error:
            raise SpottedError(error) from None
        self.blanks[start] = (end, " ")
        hint = exp.Hint()
        hint.meta[HINT] = said
        return hint

    def _parse_named_parameter(self) -> exp.Expr | None:
        colon = self._prev
        if not (self._is_connected() and self._match_set(self.ID_VAR_TOKENS)):
            return None
        self.blanks[colon.start] = (colon.end + 1, "$")
        return self.expression(exp.Placeholder(this=self._prev.text), token=colon)

    def _parse_version(self) -> exp.Version | None:
        """FOR SYSTEM_TIME AS OF a time, which DuckDB does not know."""
        first = self._curr
        version = super()._parse_version()
        if version is not None and first:
            version.update_positions(first)
            self.blanks[first.start] = (self._prev.end + 1, " ")
        return version

    def _parse_part(self) -> exp.Anonymous:
        """EXTRACT(hour FROM ts) as DuckDB sees it: date_part('hour', ts)."""
        part = self._parse_var_or_string()
        if part is None or not self._match(TokenType.FROM):
            raise SpottedError(
                unexpected(self._curr or None, self._prev, detail="It looks like EXTRACT(hour FROM ts).")
            )
        return exp.Anonymous(this="DATE_PART", expressions=[exp.Literal.string(part.name), self._parse_bitwise()])

    def _parse_map(self) -> Any:
        if self._curr.token_type == TokenType.L_BRACE:
            return super()._parse_map()
        return exp.Anonymous(this="MAP", expressions=self._parse_wrapped_csv(self._parse_assignment))

    def _parse_interval_span(self, this: exp.Expr, parse_function_unit: bool = True) -> exp.Interval:
        """INTERVAL '5' SECOND; one such as '1 day 02:03:04', which says its units itself, stays as it is."""
        if not this.is_string or this.name.strip().lstrip("+-").replace(".", "", 1).isdigit():
            return super()._parse_interval_span(this, parse_function_unit=parse_function_unit)
        return exp.Interval(this=this)

    def _parse_interval(self, *args: Any, **kwargs: Any) -> Any:
        token = self._curr
        interval = super()._parse_interval(*args, **kwargs)
        if interval is not None and token:
            interval.update_positions(token)
        return interval


class Headrace(DuckDB):
    """DuckDB's dialect with streaming's words."""

    Tokenizer = Tokenizer
    Parser = QueryParser

    class Generator(DuckDBGenerator):
        """DuckDB's printer, and windows as Flink writes them."""

        MULTI_ARG_DISTINCT = True
        TRANSFORMS: ClassVar[dict[Any, Any]] = {**DuckDBGenerator.TRANSFORMS, WindowFunction: window_sql}

        def join_sql(self, expression: exp.Join, join_op: str | None = None) -> str:
            """A comma stays a comma, also before unnest(...)."""
            if not any(expression.args.get(name) for name in expression.arg_types if name not in ("this", "pivots")):
                return f", {self.sql(expression, 'this')}"
            return super().join_sql(expression, join_op)


def read_query(tokens: Sequence[Token], source: Source, first: TokenType | None = None) -> exp.Query:
    """The query that all of `tokens` are, legacy windows in FROM; the first token is read as `first`.

    Raises: ProgrammingError or NotSupportedError, at its place, for all that is not one.
    """
    parser = QueryParser(dialect=Headrace)
    if first is not None:
        word = tokens[0]
        tokens = [Token(first, first.name, word.line, word.col, word.start, word.end), *tokens[1:]]
    tree, taken = parser.run(lambda self: self.parse_query(), tokens, source)
    if first is not None:
        parser.blanks[tokens[0].start] = (tokens[0].end + 1, first.name)
    whole = taken == len(tokens)
    written = _confirm(tokens, source, parser.blanks, tree if whole else None)
    if not whole:
        raise unexpected(tokens[taken], tokens[-1])
    if not isinstance(tree, exp.Query | exp.Values):
        raise NotSupportedError("this is not a query that headrace can run", position=position_of_token(tokens[0]))
    _refuse_strangers(tree, position_of_token(tokens[0]))
    _compare(written, tree, tokens)
    if isinstance(tree, exp.Values):
        tree = exp.Select(expressions=[exp.Star()], from_=exp.From(this=tree))
    tree = rewrite(tree)
    check_hints(tree)
    return tree


def read_expression(tokens: Sequence[Token], source: Source) -> tuple[exp.Expr | None, int]:
    """The scalar expression that `tokens` begin with, and how many it took."""
    parser = QueryParser(dialect=Headrace)
    node, taken = parser.run(lambda self: self._parse_bitwise(), tokens, source)
    if node is None or taken == 0:
        return None, 0
    select = exp.Select(expressions=[copied(node)])
    written = _confirm(tokens[:taken], source, parser.blanks, select, before="SELECT ")
    _compare(written, select, tokens[:taken], before="SELECT ")
    return node, taken


def read_condition(tokens: Sequence[Token], source: Source) -> exp.Expr:
    """The expression that all of `tokens` are, AND, OR and comparisons included."""
    parser = QueryParser(dialect=Headrace)
    node, taken = parser.run(lambda self: self._parse_disjunction(), tokens, source)
    select = None if node is None or taken < len(tokens) else exp.Select(expressions=[copied(node)])
    written = _confirm(tokens, source, parser.blanks, select, before="SELECT ")
    if node is None or select is None:
        raise unexpected(tokens[taken], tokens[-1])
    _compare(written, select, tokens, before="SELECT ")
    return node


def read_part(parse: Callable[[QueryParser], T], tokens: Sequence[Token], source: Source) -> tuple[T, int]:
    """What `parse` makes of the beginning of `tokens`, and how many it took."""
    return QueryParser(dialect=Headrace).run(parse, tokens, source)


def _confirm(
    tokens: Sequence[Token],
    source: Source,
    blanks: dict[int, tuple[int, str]],
    tree: exp.Expr | None,
    *,
    before: str = "",
) -> Parsed | None:
    """What DuckDB's parser reads where `tokens` stand, once what only headrace understands is blanked.

    None where that needs no second look, since the twin of `tree` says the same in the same words. `before` makes a
    query of text that is none by itself.
    """
    start, end = tokens[0].start, tokens[-1].end + 1
    characters = list(source.text[start:end])
    for left, (right, instead) in blanks.items():
        characters[left - start : right - start] = instead.ljust(right - left)
    text = before + "".join(characters)
    if tree is not None and (_obvious(tree) or _says(tree, text)) and accepts(text):
        return None
    written = parse(text)
    if isinstance(written, Parsed):
        return written
    offset = start + max(0, (written.start or 0) - len(before))
    token = next((token for token in tokens if token.end >= offset), tokens[-1])
    if written.syntax:
        index = tokens.index(token) if offset < end else len(tokens)
        names = [near for near in tokens[max(0, index - 1) : index + 1] if near.token_type == TokenType.VAR]
        reserved = next((name.text for name in names if name.text.upper() in reserved_words()), None)
        hint = f'A reserved word needs quotes: "{reserved}".' if reserved is not None else None
        raise unexpected(token if offset < end else None, tokens[-1], hint=hint)
    first = written.headline[:1] if written.headline[:2].isupper() else written.headline[:1].lower()
    raise ProgrammingError(first + written.headline[1:], position=position_of_token(token))


def _set_hints_aside(parsed: object) -> None:
    """What hints say of a SELECT goes into its `meta`, where no text is made of it."""
    for select in every(parsed, exp.Select) if isinstance(parsed, exp.Expr) else ():
        hint = select.args.pop("hint", None)
        if hint is not None:
            select.meta[HINT] = hint.meta[HINT]
            select.comments = [text for text in select.comments or () if not text.startswith("+")]


def _says(tree: exp.Expr, text: str) -> bool:
    try:
        return same_words(text, _printed(tree))
    except UnsupportedError:
        return False


def _printed(tree: exp.Expr) -> str:
    """The tree as DuckDB's SQL, without windows. Raises: UnsupportedError for what there is no SQL for."""
    if every(tree, WindowFunction, exp.Version):
        tree = _without_windows(tree)
    return Headrace.Generator(dialect=Headrace, unsupported_level=ErrorLevel.RAISE).generate(copied(tree), copy=False)


def _compare(written: Parsed | None, tree: exp.Expr, tokens: Sequence[Token], *, before: str = "") -> None:
    """Raise unless the twin of `tree` says all that was written."""
    if written is None or _obvious(tree):
        return
    try:
        twin = parse(_printed(tree))
        complaint = difference(written, twin) if isinstance(twin, Parsed) else twin
    except UnsupportedError as error:
        complaint = Complaint(str(error), None)
    if complaint is not None:
        known = complaint.start is not None and not complaint.syntax
        start = tokens[0].start + (complaint.start or 0) - len(before) if known else None
        token = next((token for token in tokens if start is not None and token.end >= start), tokens[0])
        raise NotSupportedError(
            "headrace reads this differently from DuckDB",
            detail="Only what both understand in the same way is run.",
            hint="Put parentheses around the parts, or say it in a simpler way.",
            position=position_of_token(token),
        )


def _without_windows(tree: exp.Expr) -> exp.Expr:
    """A copy in which the source of each window function stands in its place, and no table is as of a time."""
    tree = copied(tree)
    for version in every(tree, exp.Version):
        version.pop()
    for table in [table for table in every(tree, exp.Table) if isinstance(table.this, WindowFunction)]:
        source = table.this.this
        for name, value in table.args.items():
            if name != "this" and value:
                source.set(name, value)
        table.replace(source)
    return tree


def _obvious(tree: exp.Expr) -> bool:
    """Whether these are rows of constants, with nothing in them that could be read in two ways."""
    plain = exp.Values, exp.Tuple, exp.Literal, exp.Placeholder, exp.Null, exp.Boolean, exp.DataType
    return isinstance(tree, exp.Values) and all(
        isinstance(node, plain) or (isinstance(node, exp.Neg | exp.Cast) and isinstance(node.this, exp.Literal))
        for node in every_node(tree)
    )


def _refuse_strangers(tree: exp.Expr, start: Position) -> None:
    """Raise for what sqlglot reads but no part of headrace means."""
    for node in every_node(tree):
        match node:
            case exp.Command() | exp.Hint() | exp.Into() | exp.Lock() | exp.DDL() | exp.DML():
                raise NotSupportedError("this clause is not supported in a query", position=position_of(node) or start)
            case exp.Version() if node.args.get("kind") == "AS OF" and node.name == "TIMESTAMP":
                continue  # of a joined table: see versioned.py
            case exp.Version() | exp.HistoricalData():
                raise NotSupportedError(
                    "reading a relation as of a time is not supported yet", position=position_of(node) or start
                )
            case exp.Table(this=exp.Identifier()) if node.args.get("db") or node.args.get("catalog"):
                schema = node.args.get("catalog") or node.args["db"]
                if node.args.get("catalog") or schema.name.lower() not in SYSTEM_SCHEMAS:
                    raise ProgrammingError(
                        f'there is no schema "{schema.name}"',
                        detail="Streams and views live in no schema; only system and information_schema exist.",
                        position=position_of(schema) or start,
                    )
