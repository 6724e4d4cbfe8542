-- What a script for the sqlite3 shell needs beside the statements of the stages.

-- name: foreign_keys_off
-- locks: none. Foreign keys are looked at as a whole; enforced row by row, DROP TABLE would take rows of other tables along.
PRAGMA foreign_keys = OFF;

-- name: recursive_triggers_off
-- locks: none. As a run has it.
PRAGMA recursive_triggers = OFF;

-- name: begin
-- locks: the file's write lock, until COMMIT.
BEGIN IMMEDIATE;

-- name: commit
-- locks: none; gives back the write lock.
COMMIT;

-- name: legacy_alter_table
-- locks: none. A table that steps aside takes no name along that others have written of it.
PRAGMA legacy_alter_table = {on};

-- name: step_aside
-- locks: the file's write lock for a moment.
ALTER TABLE {table} RENAME TO {old};

-- name: copy
-- locks: the file's write lock while the rows are copied.
INSERT INTO {table} ({columns}) SELECT {columns} FROM {old};

-- name: count_anew
-- locks: the file's write lock for a moment. What the copy made of the largest rowid.
DELETE FROM sqlite_sequence WHERE name = {name};

-- name: count_on
-- locks: the file's write lock for a moment. The rowids that were given out before are not given again.
UPDATE sqlite_sequence SET name = {name} WHERE name = {was};

-- name: drop_old
-- locks: the file's write lock while its pages are let go.
DROP TABLE {old};
