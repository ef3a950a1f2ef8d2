"""What all tests share: `--bless`, `--crash`, hypothesis without a stop-watch. (pyproject.toml ends one that hangs.)"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from headrace.engine.backfill import Backfill
from headrace.engine.group import Group
from headrace.storage import limits
from tests.holding import Held
from tests.storage.sweep import Figure, Sweep

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--bless` and `--crash`."""
    parser.addoption("--bless", action="store_true", help="write what the stories print now into their .test scripts")
    parser.addoption("--crash", action="store_true", help="try every fault and crash there is, not a sample of them")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores for `-n auto`: the tests of storage wait for the disk half of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Sweep:
    def tell(figure: Figure) -> None:
        request.node.user_properties.append(("tried", figure))

    return Sweep(request.config.getoption("--crash"), tell)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests of faults have tried, in whichever process."""
    reports = terminalreporter.stats.get("passed", [])
    tried = [figure for report in reports for name, figure in report.user_properties if name == "tried"]
    if tried:
        terminalreporter.write_line(f"Tried: {', '.join(f'{count} {what}' for what, count in tried)}.")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    ready, let = Backfill.ready, Held()

    def when_let(self: Backfill, main: Group) -> bool:
        if let.stretches <= 0 or not ready(self, main):
            return False
        let.stretches -= 1
        return True

    monkeypatch.setattr(Backfill, "ready", when_let)
    monkeypatch.setattr(limits, "UNREAD_RETRY_S", 0.005)  # so often the engine looks whether it may go on
    yield let
    let.stretches = 1 << 30
