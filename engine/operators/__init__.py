"""One file per operator, named as EXPLAIN prints it."""
