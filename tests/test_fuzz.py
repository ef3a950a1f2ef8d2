"""Random databases of random views, by fixed seeds; `make fuzz` goes on with others for as long as wanted."""

from __future__ import annotations

import pytest

from headrace.engine.delta import Delta
from headrace.engine.operators.map import Map
from tests.fuzz.scenario import Failure, Figures, Scenario, run
from tests.fuzz.shrinking import shrink, story
from tests.fuzz.writing import scenario

SEEDS = range(100, 108)
SKIPPING = (1004, 1007)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_view_equals_its_twin(seed: int) -> None:
    figures = Figures()
    made = scenario(seed)
    failure = run(made, figures)
    assert failure is None, f"{failure}\n{story(made)}"
    assert figures.comparisons > 0


@pytest.mark.parametrize("seed", SKIPPING)
def test_every_view_that_skips_rows_equals_its_twin(seed: int) -> None:
    figures = Figures()
    made = scenario(seed, skip=True)
    failure = run(made, figures)
    assert failure is None, f"{failure}\n{story(made)}"
    assert figures.comparisons > 0
    assert figures.told > 0


def test_what_the_fuzzer_refuses_is_little() -> None:
    """Queries that are not taken prove nothing, so most must be."""
    figures = Figures()
    for seed in (1, 2, 3):
        made = scenario(seed)
        creates = tuple(step for step in made.steps if step.text.startswith("CREATE"))
        assert run(Scenario(creates, made.relations), figures) is None
    assert sum(figures.refused.values()) <= figures.views // 4, figures.refused


def test_a_mistake_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Map.process

    def wrong(self: Map, delta: Delta, port: int = 0) -> Delta | None:
        """Loses the last row of every seventh."""
        return right(self, delta if delta.rows % 7 else Delta(delta.batch.slice(0, delta.rows - 1)), port)

    monkeypatch.setattr(Map, "process", wrong)
    found: list[tuple[Scenario, Failure]] = []
    for seed in range(20):
        made = scenario(seed, views=3, depth=1)
        failure = run(made)
        if failure is not None:
            found.append((made, failure))
            break
    assert found, "twenty databases did not show it"
    made, failure = found[0]
    small = shrink(made, failure, attempts=25)
    again = run(small)
    assert again is not None
    assert again.kind == failure.kind
    assert len(small.steps) <= len(made.steps) / 2
