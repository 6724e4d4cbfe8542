"""What the server says that ended a statement of the controller, and what its operator does next."""

import psycopg
from psycopg import errors

from sql.errors import ServerError

_OTHER_LEDGER = (
    "if that is a part of the ledger, another version of tenantry began this migration: install that one; "
    "if not, look at the server's log"
)
#: The first that fits; whatever else it is, the server's log says more.
_WAYS_OUT: tuple[tuple[type[psycopg.Error], str], ...] = (
    (errors.DiskFull, "make room on the server"),
    (errors.OutOfMemory, "leave the server more memory, or lower maintenance_work_mem"),
    (errors.TooManyConnections, "leave the server connections to spare, or raise max_connections"),
    (errors.ReadOnlySqlTransaction, "it is a standby now: give the plan the primary's address"),
    (errors.InsufficientPrivilege, "grant this role what it lacks"),
    (errors.UndefinedColumn, _OTHER_LEDGER),
    (errors.UndefinedTable, _OTHER_LEDGER),
    (errors.QueryCanceled, "somebody cancelled it, or a timeout of the server's or the role's"),
)


def ended(what: str, error: psycopg.Error) -> ServerError:
    """The error for an operator; `what` is what was being done."""
    told = " ".join((error.diag.message_primary or str(error).strip() or type(error).__name__).split())
    state = error.sqlstate or ""
    # 08 and the shutdowns of 57: the session is gone, and with it what it was at.
    if not state or state.startswith("08") or state in {"57P01", "57P02", "57P03"}:
        return ServerError(what, state, told, "see that the server is up and reachable")
    way_out = next((way for kind, way in _WAYS_OUT if isinstance(error, kind)), "look at the server's log")
    return ServerError(what, state, told, way_out)
