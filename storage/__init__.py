"""Bytes on disk: topics, partitions, segments, the catalog. Knows nothing of queries."""
