"""Every limit, in one place. A number here is a default that options may lower or raise."""

FRAME_BYTES_MAX = 64 << 20  # one Arrow message in a segment
SEGMENT_BYTES = 256 << 20  # a segment is sealed when it grows past this
SEGMENT_BYTES_MAX = 1 << 30
ALLOCATION_BYTES = 64 << 10  # the first piece of disk a segment asks for; it doubles with the segment
ALLOCATION_BYTES_MAX = 64 << 20
TOPIC_NAME_BYTES_MAX = 240  # of a topic's folder name, where most characters take one byte and others up to 12
PARTITIONS_MAX = 1024
TOMBSTONE_RETENTION_MS = 86_400_000  # how long compaction keeps a deletion for consumers that are behind
TRANSACTION_RECORDS_MAX = 1 << 16  # in the file of committed transactions, before it is written anew
WRITERS_MAX = 10_000  # named producers of a database
MAINTENANCE_INTERVAL_S = 10.0  # between two looks at what retention, compaction and coalescing have to do
MAINTENANCE_STRETCH_S = 0.002  # work in the background, and then MAINTENANCE_REST_S for others
MAINTENANCE_REST_S = 0.001
MAINTENANCE_RETRY_S = 300.0  # after something went wrong with a topic
COALESCED_ROWS_MIN = 1 << 13  # a sealed segment with fewer rows per frame is written anew with larger frames
REWRITTEN_FRAME_BYTES = 16 << 20  # about the most bytes of a frame that is written anew
LINGER_S = 0.001  # how long group commit waits for company
PRODUCER_LINGER_S = 0.002  # how long a producer waits for more rows before it appends those it has
PRODUCER_BATCH_BYTES = 8 << 20  # as much it appends at once
PRODUCER_BUFFER_BYTES = 64 << 20  # as much it holds; beyond it send() waits
PRODUCER_ROW_BYTES = 256  # what a row given as a mapping counts for in its buffer
CONSUMER_ROWS = 1 << 16  # one poll of a consumer returns at most
CONSUMER_LOOK_S = 0.2  # between two looks at who else is in the group
CONSUMER_TAKE_S = 0.01  # the same while a partition is due that its last owner has not let go of
CONSUMER_COMMIT_S = 1.0  # between two commits that nobody asked for
TAIL_BUSY_S = 0.0004  # between two looks at a folder that another process writes, while rows come
TAIL_IDLE_S = 0.003  # the same while none come
TAIL_BUSY_FOR_S = 0.2  # how long rows are taken to come after the last one came
TAIL_LOOK_S = 0.1  # between two looks for topics that are new
TAIL_RETRIES = 50  # looks at a manifest whose files go while it is read
VERIFY_RETRIES = 5  # looks at a partition that changes while it is verified
TAIL_SETTLE_S = 1.0  # how long a reader that opens waits for rows that belong together to be shown together
UNFLUSHED_BYTES_MAX = 256 << 20  # appended, not yet durable: beyond it append() waits

SHOWN_ROWS = 1000  # of a topic that is shown as a table, unless told otherwise
FOLLOW_S = 0.5  # how often a process that waits for rows looks whether anybody still reads what it writes

ROWS_PER_EPOCH = 1 << 18  # rows one epoch takes of each stream when it is behind
ROWS_PER_FRAME = 1 << 16  # COPY and INSERT ... SELECT cut their input so
PANES_PER_ROW_MAX = 10_000  # HOP: size / slide
SUBSCRIPTION_EPOCHS_MAX = 1024  # queued for a slow subscriber before the engine waits for it
IDLE_TIMEOUT_S = 10.0  # a partition silent for so long no longer holds the watermark back
FUTURE_GUARD_S = 86_400.0  # a row further ahead of the clock does not move the watermark
BOUND_QUERIES_MAX = 1024  # names and types remembered by query text while planning
RECOMPUTE_ROWS_MAX = 50_000_000  # rows a recompute operator keeps before it says no
