"""The words that the shell completes and highlights, beside the names in the catalog."""

from __future__ import annotations

KEYWORD_LIST = """
ADD ALL ALLOW ALTER AND ANTI AS ASC ASOF BETWEEN BIGINT BLOB BOOLEAN BY CASE CAST CHANGELOG CHANGES CHECKPOINT
COLUMN COMMENT CONFLICT COPY CREATE CROSS CUMULATE DATE DECIMAL DEFAULT DELETE DESC DESCRIBE DESCRIPTOR
DISTINCT DOUBLE DROP ELSE EMIT END EPOCH EVERY EXCEPT EXCLUDE EXISTS EXPLAIN FALSE FILTER FINAL FIRST FOR
FORMAT FROM FULL GROUP HAVING HOP IF ILIKE IN INNER INSERT INTEGER INTERSECT INTERVAL INTO IS JOIN KEY LAST
LATENESS LATERAL LEFT LIKE LIMIT MATERIALIZED NOT NULL NULLS OF OFFSET ON OR ORDER OUTER OVER PARTITION
PARTITIONED PARTITIONS PIVOT PLAN PRIMARY QUALIFY QUERIES RENAME RESET RETURNING RIGHT ROWS SELECT SEMI
SESSION SET SHOW STATE STREAM STREAMS SUBSCRIBE SYSTEM_TIME TABLE TABLES THEN TIMESTAMP TO TRUE TRUNCATE
TUMBLE TWIN UNION UNPIVOT UP UPDATE USING VALUES VARCHAR VERIFY VIEW VIEWS WATERMARK WHEN WHERE WINDOW WITH
"""
FUNCTION_LIST = """
abs any_value arg_max arg_min array_agg avg bool_and bool_or ceil coalesce concat concat_ws count count_if
current_timestamp date_diff date_part date_trunc epoch exp extract first floor format greatest hash json_extract
lag last lead least left length list ln log lower lpad ltrim max md5 median min mod now nullif percentile_cont
power proctime quantile_cont rank regexp_extract regexp_matches regexp_replace replace reverse right round row_number
rpad rtrim sign split_part sqrt starts_with stddev strftime string_agg strptime substr sum time_bucket
to_timestamp trim typeof unnest upper var_samp
"""
KEYWORDS = tuple(KEYWORD_LIST.split())
FUNCTIONS = tuple(FUNCTION_LIST.split())
