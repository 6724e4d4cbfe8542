"""The servers of `tenantry demo`, and the queue of a `run` without Redis; all from wheels."""
