"""What SQLite's result codes are as SQLSTATEs, so that one table of meanings serves both databases."""

import sqlite3

from sql.errors import FileBusyError, ServerError

#: By the extended code, or else by its low byte.
_STATES = {
    sqlite3.SQLITE_CONSTRAINT_CHECK: "23514",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "23502",
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "23505",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "23505",
    sqlite3.SQLITE_CONSTRAINT_ROWID: "23505",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "23503",
    sqlite3.SQLITE_CONSTRAINT_TRIGGER: "P0001",
    sqlite3.SQLITE_CONSTRAINT: "23000",
    sqlite3.SQLITE_MISMATCH: "22000",
    sqlite3.SQLITE_TOOBIG: "54000",
    sqlite3.SQLITE_INTERRUPT: "57014",
    sqlite3.SQLITE_BUSY: "55P03",
    sqlite3.SQLITE_LOCKED: "55P03",
    sqlite3.SQLITE_FULL: "53100",
    sqlite3.SQLITE_NOMEM: "53200",
    sqlite3.SQLITE_IOERR: "58030",
    sqlite3.SQLITE_CANTOPEN: "58030",
    sqlite3.SQLITE_READONLY: "25006",
    sqlite3.SQLITE_CORRUPT: "XX001",
    sqlite3.SQLITE_NOTADB: "XX001",
    sqlite3.SQLITE_SCHEMA: "40001",
}
#: For what SQLite only calls an error: a name that is gone as well as a value that a function won't take.
UNNAMED = "42000"


def sqlstate(error: sqlite3.Error | FileBusyError) -> str:
    """The SQLSTATE that says most of an error; `UNNAMED` for what SQLite only calls an error."""
    if isinstance(error, FileBusyError):
        return "55P03"
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return ""
    return _STATES.get(code) or _STATES.get(code & 0xFF) or UNNAMED


#: What an operator does about what SQLite ended, by the SQLSTATE; else the message has to say it.
_WAYS_OUT = {
    "53100": "make room on the file's disk",
    "58030": "look at the file's disk and its rights",
    "25006": "let this user write the file and its folder",
    "XX001": "bring a backup back (`tenantry restore`)",
}


def refused(what: str, error: sqlite3.Error) -> ServerError:
    """What SQLite refused or broke off, as an error that tells the operator what to do."""
    code = sqlstate(error)
    return ServerError(what, code, str(error), _WAYS_OUT.get(code, "mend what it says"))
