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
