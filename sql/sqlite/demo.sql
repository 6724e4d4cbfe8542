-- What a demo on a file measures at its end.

-- name: size
-- locks: none; a read. In bytes; what is free is of what was dropped.
SELECT page_count * page_size AS size, freelist_count * page_size AS free
FROM pragma_page_count, pragma_page_size, pragma_freelist_count;

-- name: longest_batch
-- locks: none; a read. In milliseconds.
SELECT coalesce(max(duration_ms), 0) FROM tenantry_batches;
