"""What all tests share: `--bless`, and hypothesis without a stop-watch. (pyproject.toml ends a test that hangs.)"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--bless`."""
    parser.addoption("--bless", action="store_true", help="write what the stories print now into their .test scripts")
