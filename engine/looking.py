"""What others see of a group between two of its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .digest import Digest, digest
from .epochs import Read
from .footprint import spilled_bytes
from .group import Group
from .metrics import NodeState, ViewState
from .reading import Reading
from .view import View


def reading(group: Group, views: Sequence[View], streams: Sequence[str], epoch: int, clock: int) -> Reading:
    """What these views and streams are at an epoch that is just over. Raises: why one of them has stopped."""
    tables = {view.name: view.present.rows() for view in views}
    ends = {name: list(group.positions[name]) for name in streams}
    marks = {name: group.watermark([name]) for name in streams}
    marks |= {view.name: group.watermark(view.all_streams) for view in views}
    return Reading(epoch, clock, tables, ends, marks)


def state(group: Group, view: View) -> ViewState:
    """What the nodes of a view have done so far, and what they keep."""
    nodes = []
    for node in view.dataflow.nodes:
        others = tuple(other.name for other in group.views if other is not view and node in other.dataflow.nodes)
        figures, mark, operator = node.figures.copy(), group.watermark(node.streams), node.operator
        if operator is None:
            nodes.append(NodeState(figures, 0, mark, others))
        else:
            kept = (operator.oldest, spilled_bytes(operator), operator.kept)
            nodes.append(NodeState(figures, operator.bytes, mark, others, *kept))
    return ViewState(tuple(nodes), view.result.bytes)


def news(group: Group, known: Mapping[str, Read]) -> dict[str, Read]:
    """How far each stream is, but for those that are as far as is `known`."""
    found = {}
    for name, positions in group.positions.items():
        mark, before = group.times[name].watermark, known.get(name)
        if before is None or before.ends != positions or before.watermark != mark:
            found[name] = Read(group.streams[name].topic.created, list(positions), mark)
    return found


def digests(group: Group) -> dict[str, Digest] | None:
    """Of what the last epoch has changed in each view; None where nobody wants them."""
    return {name: digest(delta) for name, delta in group.changed.items()} if group.digests else None
