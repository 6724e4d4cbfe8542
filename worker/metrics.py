"""What workers count. Import only once `PROMETHEUS_MULTIPROC_DIR` is set, or nothing is shared.

The folder belongs to the process that starts workers, and is new with it: it serves what all workers, living
and dead, have counted (`control.worker_pool`). Where nobody is to be served there is none. Gauges that come
from the database are the exporter's.
"""

from prometheus_client import Counter, Histogram

ROWS = Counter("tenantry_worker_rows_total", "Rows that batches updated.", ["table"])
BATCHES = Counter("tenantry_worker_batches_total", "Batches by what became of them.", ["table", "outcome"])
DURATION = Histogram(
    "tenantry_worker_batch_duration_seconds",
    "Time of a batch in the server, which is how long a row of it can be locked.",
    ["table"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.0),
)
WAIT = Histogram(
    "tenantry_worker_batch_wait_seconds",
    "Time from the ring for a batch to its begin.",
    ["table"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300),
)
RETRIES = Counter(
    "tenantry_worker_retries_total",
    "Tries that failed and are made again, past locked rows, later or by halves, by the class of SQLSTATE.",
    ["table", "sqlstate_class"],
)
FAILURES = Counter(
    "tenantry_worker_failures_total",
    "Batches that failed, by the class of their SQLSTATE.",
    ["table", "sqlstate_class"],
)
THROTTLED = Counter(
    "tenantry_worker_throttled_seconds_total",
    "Time in which the governor let no batch go, or let it rest.",
    ["reason"],
)
MESSAGES = Counter("tenantry_worker_messages_total", "Messages taken from the queue.")
REFUSED = Counter(
    "tenantry_worker_messages_refused_total",
    "Messages that were no range of batches: none of ours, and thrown away.",
)
