"""EXPLAIN: a plan as a tree of lines, each operator with what it keeps."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import assert_never

from ..engine.aggregates import AggregateCall, keeps_rows
from ..engine.calendar import ByDay, Calendar
from ..engine.metrics import NodeState, ViewState
from ..engine.over_functions import OverCall
from ..engine.windows import Cumulate, Given, Hop, Moments, Rule, Sessions
from . import plan as p
from .calendar_twin import calendar_words
from .dialect import twin_sql
from .expiring import expires
from .lower import lower_map
from .plan import Plan
from .plan_properties import forgets, keeps_state, summary, unbounded
from .window_twin import interval


def explain(plan: Plan, view: ViewState | None = None) -> list[str]:
    """What is known of the result, then two lines per operator: what it does, and `state:` what it keeps.

    Where the view runs, also which other views an operator, and so what is below it, runs for.
    """
    shared = _shared(plan, view)
    return [f"result: {summary(plan)}", *_tree(plan, lambda node: f"state: {_describe(node)[1]}{shared.get(node, '')}")]


def explain_state(plan: Plan, view: ViewState | None) -> list[str]:
    """The same with the memory that each takes now, where the view runs, and a sentence per unbounded state."""
    nodes = {} if view is None else dict(zip(p.nodes(plan), view.nodes, strict=True))

    shared = _shared(plan, view)

    def told(node: Plan) -> str:
        taken = (_bytes(nodes[node]) if nodes else "") + shared.get(node, "")
        return f"state: {_describe(node)[1]}{taken}"

    lines = [f"result: {summary(plan)}", *_tree(plan, told)]
    if view is not None:
        total = sum(node.state_bytes for node in view.nodes) + view.kept_bytes
        beside = f", {view.kept_bytes:,} of them the rows of the result" if view.kept_bytes else ""
        lines.append(f"in all {total:,} bytes{beside}")
    notes = unbounded(plan)
    return (
        [*lines, *(f"grows without bound: {note}" for note in notes)]
        if notes
        else [
            *lines,
            f"bounded by {'its state_ttl, and by ' if expires(plan) else ''}the number of its groups and open windows",
        ]
    )


def explain_analyze(plan: Plan, view: ViewState) -> list[str]:
    """What each operator of a running view has taken in and given out so far, and the time it needed for that."""
    nodes = dict(zip(p.nodes(plan), view.nodes, strict=True))

    def told(node: Plan) -> str:
        figures = nodes[node].figures
        if isinstance(node, p.Scan | p.ViewScan):
            return f"{figures.rows_out:,} rows"
        return f"{figures.rows_in:,} rows in, {figures.rows_out:,} out, {figures.seconds * 1000:.1f} ms"

    return _tree(plan, told)


def operator_names(plan: Plan) -> list[str]:
    """What each node of the plan does, in the order of the dataflow's nodes: inputs before what reads them."""
    return [_describe(node)[0] for node in p.nodes(plan)]


def _shared(plan: Plan, view: ViewState | None) -> dict[Plan, str]:
    """What to say of each operator that runs for other views too, with state; but once for those above each other."""
    nodes = {} if view is None else dict(zip(p.nodes(plan), view.nodes, strict=True))
    said = {
        below for node in nodes for below in p.inputs_of(node) if nodes[below].shared_with == nodes[node].shared_with
    }
    return {
        node: f"; shared with {', '.join(state.shared_with)}"
        for node, state in nodes.items()
        if state.shared_with and node not in said and keeps_state(node)
    }


def _tree(plan: Plan, tell: Callable[[Plan], str]) -> list[str]:
    """Two lines per node, result first; `tell` says the second one. What is read twice is shown once."""
    lines: list[str] = []
    shown: set[Plan] = set()

    def add(node: Plan, depth: int) -> None:
        pad = "  " * depth
        repeated = node in shown and bool(p.inputs_of(node))
        lines.extend((f"{pad}{_describe(node)[0]}", f"{pad}    {'the same as above' if repeated else tell(node)}"))
        shown.add(node)
        for below in () if repeated else p.inputs_of(node):
            add(below, depth + 1)

    add(plan, 0)
    return lines


def _bytes(node: NodeState) -> str:
    if not node.state_bytes:
        return ""
    parts = [f"; {node.state_bytes:,} bytes now"]
    if node.spilled_bytes:
        parts.append(f"{node.spilled_bytes:,} of them in files")
    if node.kept is not None:
        parts.append(f"{node.kept:,} rows or groups")
    if node.oldest is not None:
        parts.append(f"the oldest of {_moment(node.oldest)}")
    return ", ".join(parts)


def _describe(plan: Plan) -> tuple[str, str]:
    match plan:
        case p.Scan():
            names = ", ".join(column.name for column in plan.columns)
            return f"scan {plan.stream} ({names})" + _time(plan), f"none; reads {_range(plan)}"
        case p.ViewScan():
            what, kind = "table" if plan.table else "view", "append-only" if plan.append_only else "retracts"
            return f"scan {what} {plan.view} ({kind})", f"none; reads the {what}'s changelog"
        case p.Changelog():
            if plan.key:
                return f"upsert: the last row by {', '.join(plan.key)}", "one row per key, as many as there are"
            return "weighted: rows as often as their weights say", "none here; the table keeps its rows"
        case p.Late(window=Moments()):
            return "late: rows behind the watermark go to system.late_rows", "the watermark"
        case p.Late():
            return f"late: rows whose {_window(plan.window)} has closed go to system.late_rows", "the watermark"
        case p.Map():
            items = ", ".join(_item(name, twin_sql(item)) for name, item in plan.items)
            where = f" where {twin_sql(plan.where)}" if plan.where is not None else ""
            skips = "; rows on which it fails go to system.failed_rows" if isinstance(plan, p.SkippingMap) else ""
            return f"map {items}{where} [{lower_map(plan).describe()}{skips}]", "none"
        case p.TemporalFilter():
            return f"temporal_filter: {_stretch(plan)}", _coming_and_going(plan)
        case p.AssignWindow():
            return f"window: {_window(plan.window)} over {plan.time}", "none"
        case p.Session():
            by = f" of {', '.join(plan.keys)}" if plan.keys else ""
            mode = "final: each once, when it closes" if plan.final else "changes"
            what = f"session: rows{by} at most {_length(plan.gap)} apart over {plan.time} [{mode}]"
            return what, f"the rows of open sessions, {_bound(plan, 'the session')}"
        case p.WindowAggregate():
            what = f"window_aggregate: {_panes(plan)}, {_grouped(plan.keys, plan.calls)}"
            mode = " [final: each window once, when it closes]" if plan.final else " [changes]"
            return what + mode, f"one row per open window and group{_rows_kept(plan)}, {_bound(plan, 'the window')}"
        case p.Expand():
            made = ("(" + ", ".join(plan.keys[place] for place in sorted(chosen)) + ")" for chosen in plan.sets)
            return f"expand: each row for the grouping sets {', '.join(made)}", "none"
        case p.Unnest():
            place = " and its place" if plan.numbered else ""
            alone = "; a row without any once" if plan.outer else ""
            return f"unnest: each row per element of {', '.join(plan.lists)}{place}{alone}", "none"
        case p.Aggregate():
            fast = "append-only input" if p.append_only(plan.input) else "retracting input"
            if not plan.keys:
                return f"aggregate: {_grouped(plan.keys, plan.calls)} [{fast}]", f"one row{_rows_kept(plan)}"
            how_many = _idle(plan.ttl_us, "goes when no row came") or "as many as there are"
            kept = f"one row per group, {how_many}{_rows_kept(plan)}"
            return f"aggregate: {_grouped(plan.keys, plan.calls)} [{fast}]", kept
        case p.GroupingSets():
            fast = "append-only input" if p.append_only(plan.input) else "retracting input"
            sets = ", ".join("(" + ", ".join(plan.by[place] for place in sorted(chosen)) + ")" for chosen in plan.sets)
            what = f"aggregate: {_grouped((f'GROUPING SETS ({sets})',), plan.calls)} [{fast}]"
            how_many = _idle(plan.ttl_us, "goes when no row came") or "as many as there are"
            return what, f"one row per group, {how_many}{_rows_kept(plan)}"
        case p.Join():
            pairs = [f"{a} {'IS NOT DISTINCT FROM' if safe else '='} {b}" for a, b, safe in plan.keys]
            on = " AND ".join([*pairs, *([] if plan.residual is None else [twin_sql(plan.residual)])])
            mode = " [final: rows without a partner once, when none can come]" if plan.final else ""
            order = f" [in order: {', '.join(f'{low} to {high}' for low, high in plan.order)}]" if plan.order else ""
            return f"join {plan.kind}: {on or 'every pair'}{order}{mode}", _joined_state(plan)
        case p.AsofJoin():
            return _asof(plan)
        case p.LookupJoin():
            on = " AND ".join(f"{a} {'IS NOT DISTINCT FROM' if safe else '='} {b}" for a, b, safe in plan.keys)
            kind = "left" if plan.outer else "inner"
            return f"lookup_join {kind}: {on}, as it is when a row comes", "the rows of the right input"
        case p.Recompute():
            by = ""
            if plan.partition:
                by = "; only changed values of " + " = ".join(
                    f"{name}.({', '.join(c)})" for name, c in zip(plan.names, plan.partition, strict=True)
                )
            return f"recompute ({plan.reason}): {plan.sql}{by}", "UNBOUNDED: all rows of its inputs" + (
                "" if plan.partition else " and its result"
            )
        case p.Over():
            calls = ", ".join(_over(call) for call in plan.calls)
            idle = _idle(plan.ttl_us, "is forgotten when no row came")
            return f"over: {calls}{_ordered(plan)}", _partitions_kept(plan, idle)
        case p.TopN():
            first = f"{plan.offset + 1} to {plan.limit}" if plan.offset else f"the first {plan.limit}"
            by = "" if plan.ranking == "row_number" else f" by {plan.ranking}"
            moves = "rows only move up" if forgets(plan) else "retracting input"
            mode = f" [{'append-only input' if p.append_only(plan.input) else moves}]"
            shown = "the rows it shows" + (" and those before them" if plan.offset else "")
            kept = shown if forgets(plan) else "all rows of its input"
            kept += f"; a partition {idle}" if (idle := _idle(plan.ttl_us, "goes when no row came")) else ""
            return f"top_n: {first}{by}{_ordered(plan)}{mode}", kept
        case p.Constant():
            return f"constant: {plan.sql}", "none; its rows are known"
        case p.UnionAll():
            return f"union all of {len(plan.inputs)}", "none"
        case p.SetOperation():
            kind = f"{plan.kind} all" if plan.all_rows else plan.kind
            how_many = _idle(plan.ttl_us, "goes when it did not come") or "as many as there are"
            return kind, f"each different row of its inputs, {how_many}"
        case _:
            assert_never(plan)


def _idle(ttl_us: int | None, what: str) -> str:
    """What happens to idle state, and after how long; nothing without a time to live."""
    return "" if ttl_us is None else f"{what} for {interval(ttl_us)} [state_ttl]"


def _joined_state(plan: p.Join) -> str:
    left, right = plan.ttls_us
    if left is not None and left == right:
        return f"rows of both inputs, each forgotten {interval(left)} after it came [state_ttl]"
    if left is not None or right is not None:
        return f"{_side_kept('left', plan.left, left)}; {_side_kept('right', plan.right, right)}"
    if not plan.bounds:
        return "UNBOUNDED: all rows of both inputs"
    side = plan.bounds[0].kept
    dropped = "dropped when the watermark has passed their time and that of all partners"
    return f"rows of both inputs, {dropped}" + (f"; UNBOUNDED: all rows of the {side} input" if side else "")


def _side_kept(side: str, plan: Plan, ttl_us: int | None) -> str:
    if ttl_us is not None:
        return f"rows of the {side} input, each forgotten {interval(ttl_us)} after it came [state_ttl]"
    return f"{'UNBOUNDED: all rows' if p.append_only(plan) else 'the rows'} of the {side} input"


def _asof(plan: p.AsofJoin) -> tuple[str, str]:
    sign = ("<" if plan.rule.backward else ">") + ("" if plan.rule.strict else "=")
    pairs = [f"{a} {'IS NOT DISTINCT FROM' if safe else '='} {b}" for a, b, safe in plan.keys]
    on = " AND ".join([*pairs, f"{plan.rule.left} {sign} {plan.rule.right}"])
    mode = " [final: each row once, when its version is settled]" if plan.final else " [corrected]"
    what = f"asof_join {'left' if plan.outer else 'inner'}: the nearest version with {on}{mode}"
    if plan.rule.needed is not None:
        kept = (
            "rows whose version is not settled by the watermark, and of each key the versions from the last settled on"
        )
        return what, kept
    left, right = plan.ttls_us
    if left is None and right is None:
        return what, "UNBOUNDED: all rows of both inputs"
    versions = _side_kept("right", plan.right, None)
    if right is not None:
        last = "" if left is None else f", the last one when nothing came to it for {interval(max(left, right))}"
        versions = f"versions, each forgotten {interval(right)} after a later one of its key came{last} [state_ttl]"
    return what, f"{_side_kept('left', plan.left, left)}; {versions}"


def _over(call: OverCall) -> str:
    numbered = call.function in ("lag", "lead", "nth_value", "ntile")
    argument = call.argument or ("*" if call.function == "count" else "")
    arguments = [argument, str(call.number) if numbered else ""]
    return f"{call.function}({', '.join(a for a in (*arguments, call.default) if a)}){_frame(call)}"


def _frame(call: OverCall) -> str:
    frame = call.frame
    if frame.kind == "peers" or call.function not in ("count", "sum", "avg", "min", "max", "last_value", "nth_value"):
        return ""
    start = "start" if frame.start is None else str(frame.start)
    return f" {frame.kind} {start} to {'end' if frame.end is None else frame.end}"


def _partitions_kept(plan: p.Over, idle: str) -> str:
    if not idle:
        return "UNBOUNDED: all rows of its input"
    return f"the rows of its input, of which {'a partition' if plan.partition else 'the one partition'} {idle}"


def _ordered(plan: p.Over | p.TopN) -> str:
    keys = [
        key.column + (" desc" if key.descending else "") + (" nulls first" if key.nulls_first else "")
        for key in plan.order
    ]
    partition = f" in each {', '.join(plan.partition)}" if plan.partition else ""
    return partition + (f" ordered by {', '.join(keys)}" if keys else "")


def _time(plan: Plan) -> str:
    names = sorted(p.time_columns(plan))
    return f" watermark on {', '.join(names)}" if names else ""


def _range(plan: p.Scan) -> str:
    """What is read of a log, given the event times that are asked for."""
    first, last = plan.times or (None, None)
    words = [f"{word} {_moment(time)}" for word, time in (("from", first), ("up to", last)) if time is not None]
    return f"the log's frames with {plan.event_time} {' '.join(words)}" if words else "the log"


def _moment(time_us: int) -> str:
    try:
        return str(datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time_us))
    except OverflowError:
        return "beyond all dates"


def _item(name: str, text: str) -> str:
    return text.strip('"') if text.strip('"') == name else f"{text} AS {name}"


def _stretch(plan: p.TemporalFilter) -> str:
    """When a row comes, and when it goes."""
    if plan.event_time:
        ((name, length),) = plan.starts
        return f"rows once the watermark is at {name}" + (f" plus {_length(length)}" if length else "")
    items = dict(plan.input.items) if isinstance(plan.input, p.Map) else {}

    def moment(name: str, length: int) -> str:
        after = length % 1000 == 1  # one microsecond after a bound that is included
        length -= after
        value = twin_sql(items[name]) if name in items else name
        value += f" {'+' if length > 0 else '-'} {_length(abs(length))}" if length else ""
        return f"just after {value}" if after else value

    parts = [f"from {moment(*start)}" for start in plan.starts] + [f"until {moment(*end)}" for end in plan.ends]
    return "rows " + " and ".join(parts)


def _coming_and_going(plan: p.TemporalFilter) -> str:
    if not plan.ends:
        return "the rows that are still to come"
    kept = "the rows that are there" + (", and those still to come" if plan.starts else "")
    return f"{kept}, dropped when the clock passes them"


def _bound(plan: p.Session | p.WindowAggregate, what: str) -> str:
    if p.closes(plan) and plan.lateness:
        return f"dropped when the watermark is {_length(plan.lateness)} past {what}"
    if p.closes(plan):
        return f"dropped when the watermark closes {what}"
    return "UNBOUNDED: no watermark closes the windows"


def _panes(plan: p.WindowAggregate) -> str:
    if isinstance(plan.window, Given):
        later = f" plus {_length(plan.window.before_end)}" if plan.window.before_end else ""
        return f"windows that end at {plan.time}{later}"
    return f"{_window(plan.window)} over {plan.time}"


def _window(window: Rule) -> str:
    match window:
        case Sessions():
            return f"SESSION with a gap of {_length(window.gap)}"
        case Calendar() | ByDay():
            return calendar_words(window)
        case Hop() if not window.overlaps:
            return f"TUMBLE of {_length(window.size)}"
        case Hop():
            return f"HOP of {_length(window.size)} every {_length(window.slide)}"
        case Cumulate():
            return f"CUMULATE up to {_length(window.size)} by {_length(window.step)}"
        case _:
            raise AssertionError(f"no words for {window}")


def _length(us: int) -> str:
    return interval(us).removeprefix("INTERVAL ").strip("'")


def _grouped(keys: tuple[str, ...], calls: tuple[AggregateCall, ...]) -> str:
    made = ", ".join(_call(call) for call in calls) or "distinct"
    return made + (f" by {', '.join(keys)}" if keys else "")


def _rows_kept(plan: p.Aggregate | p.GroupingSets | p.WindowAggregate) -> str:
    append_only = p.append_only(plan.input)
    keeping = [_call(call) for call in plan.calls if keeps_rows(call, append_only=append_only)]
    return f"; all different rows for {', '.join(keeping)}" if keeping else ""


def _call(call: AggregateCall) -> str:
    arguments = ", ".join(name for name in (call.argument, *call.others) if name is not None)
    inside = ("distinct " if call.distinct else "") + arguments
    if call.order:
        inside += " order by " + ", ".join(key.column + (" desc" if key.descending else "") for key in call.order)
    text = "count(*)" if call.function == "count_star" else f"{call.function}({inside})"
    return text + (f" filter ({call.filter})" if call.filter else "")
