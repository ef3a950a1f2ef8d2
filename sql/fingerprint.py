"""Fingerprints: whether what a checkpoint has is of the same query, planned in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .plan import Plan


def fingerprint(view_id: int, plan: Plan | Sequence[str]) -> str:
    """Another one for each plan that keeps other state, or for other texts that say what counts of a plan.

    `view_id` tells apart views that had one name.
    """
    return f"{view_id}:{hashlib.blake2b(repr(plan).encode(), digest_size=16).hexdigest()}"
