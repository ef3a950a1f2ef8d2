"""Backfills that wait: a test lets them take as many stretches as it says."""

from __future__ import annotations


class Held:
    """Lets a backfill take so many stretches, and no more until it is told to."""

    stretches = 0
