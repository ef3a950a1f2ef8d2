"""Keys: which columns tell the rows of a plan apart."""

from __future__ import annotations

from sqlglot import exp

from . import plan as p
from .plan import Plan


def key_of(plan: Plan) -> tuple[str, ...] | None:
    """Columns that no two rows of the result share, or None where none are known."""
    match plan:
        case p.ViewScan():
            return plan.key
        case p.Map():
            below = key_of(plan.input)
            if below is None:
                return None
            renamed = {item.name: name for name, item in plan.items if isinstance(item, exp.Column)}
            return tuple(renamed[name] for name in below) if all(name in renamed for name in below) else None
        case p.TemporalFilter():
            below = key_of(plan.input)
            names = [column.name for column in plan.columns]
            return below if below is not None and set(below) <= set(names) else None
        case p.WindowAggregate():
            names = [column.name for column in plan.columns]
            start = next((name for name in ("window_start", "window_end", "window_time") if name in names), None)
            return None if start is None else tuple(dict.fromkeys((start, *plan.keys)))
        case p.Aggregate(silent=True) | p.SetOperation(silent=True):
            return None
        case p.Aggregate() | p.GroupingSets():
            return plan.keys
        case p.Changelog():
            return plan.key or None
        case p.Join():
            return _join_key(plan)
        case p.LookupJoin() if not set(key_of(plan.right) or ("+",)) <= {name for _, name, _ in plan.keys}:
            return None  # a row may find several
        case p.AsofJoin() | p.LookupJoin():
            left = key_of(plan.left)
            return left if left is not None and set(left) <= {column.name for column in plan.columns} else None
        case p.TopN() if not plan.partition and plan.limit == 1:
            return ()
        case p.TopN() if plan.ranking == "row_number" and plan.limit == 1:
            return plan.partition
        case p.TopN() if plan.ranking == "row_number" and plan.shown:
            return (*plan.partition, plan.columns[-1].name)
        case p.Over() | p.TopN():
            return key_of(plan.input)
        case p.SetOperation():
            return None if plan.all_rows else tuple(column.name for column in plan.columns)
        case p.Scan() | p.Late() | p.AssignWindow() | p.Expand() | p.Unnest() | p.Session():
            return None
        case p.Recompute() | p.Constant() | p.UnionAll():
            return None


def _join_key(plan: p.Join) -> tuple[str, ...] | None:
    """Key columns of both sides that come out, but for a side of which a row finds one partner at most."""
    left, right = key_of(plan.left), key_of(plan.right)
    names = {column.name for column in plan.columns}
    one_right = right is not None and set(right) <= {name for _, name, _ in plan.keys}
    one_left = left is not None and set(left) <= {name for name, _, _ in plan.keys}
    found: tuple[str, ...] | None = None
    if plan.kind in ("semi", "anti") or (plan.kind in ("inner", "left") and one_right):
        found = left
    elif plan.kind in ("inner", "right") and one_left:
        found = right
    elif left is not None and right is not None:
        found = (*left, *right)
    return found if found is not None and names >= set(found) else None
