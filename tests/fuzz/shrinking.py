"""From a scenario that fails to a small one that fails in the same way, and to a story that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .scenario import Create, Failure, Insert, Scenario, Step, run
from .tree import smaller


def shrink(scenario: Scenario, failure: Failure, *, attempts: int) -> Scenario:
    """The smallest scenario found in so many runs that fails as `failure` says."""
    left = attempts

    def fails(candidate: Scenario) -> bool:
        nonlocal left
        left -= 1
        found = run(candidate) if left >= 0 else None
        return found is not None and found.kind == failure.kind

    before = None
    while scenario != before and left > 0:
        before = scenario
        scenario = _fewer_steps(scenario, fails)
        scenario = _smaller_steps(scenario, fails)
        if scenario.options and fails(plain := replace(scenario, options={})):
            scenario = plain
    return scenario


def story(scenario: Scenario) -> str:
    """The scenario as a script, for tests/scripts once it is understood."""
    lines = [f"# options: {dict(scenario.options)}"]
    return "\n".join([*lines, *(f"{step.text};" for step in scenario.steps)])


def _fewer_steps(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """Without every piece of the steps that is not needed, the largest pieces first."""
    size = len(scenario.steps) // 2
    while size:
        start = 0
        while start < len(scenario.steps):
            candidate = replace(scenario, steps=scenario.steps[:start] + scenario.steps[start + size :])
            if fails(candidate):
                scenario = candidate
            else:
                start += size
        size //= 2
    return scenario


def _smaller_steps(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """With smaller queries and fewer rows in each step."""
    for place in range(len(scenario.steps)):
        again = True
        while again:
            again = False
            for other in _smaller_step(scenario.steps[place]):
                candidate = replace(scenario, steps=(*scenario.steps[:place], other, *scenario.steps[place + 1 :]))
                if fails(candidate):
                    scenario, again = candidate, True
                    break
    return scenario


def _smaller_step(step: Step) -> Iterator[Step]:
    match step:
        case Create():
            if step.tail:
                yield replace(step, tail="")
            yield from (replace(step, query=query) for query in smaller(step.query))
        case Insert():
            half = len(step.rows) // 2
            if half:
                yield replace(step, rows=step.rows[:half])
                yield replace(step, rows=step.rows[half:])
            if 1 < len(step.rows) < 6:
                for place in range(len(step.rows)):
                    yield replace(step, rows=step.rows[:place] + step.rows[place + 1 :])
