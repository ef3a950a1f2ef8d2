"""Running dataflow: deltas, operators, state, watermarks, epochs. Knows nothing of SQL text."""
