"""Fingerprints: whether what a checkpoint has is of the same query, planned in the same way."""

from __future__ import annotations

import hashlib

from .plan import Plan


def fingerprint(view_id: int, plan: Plan) -> str:
    """Another one for each plan that keeps other state; `view_id` tells apart views that had one name."""
    return f"{view_id}:{hashlib.blake2b(repr(plan).encode(), digest_size=16).hexdigest()}"
