"""Text to dataflow: dialect, statements, twin, planner, lowering, session, DB-API."""
