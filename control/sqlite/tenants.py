"""Whether a text names a tenant, where no statement has to know: in what is only read."""

import re

from sql.sqlite.connection import shown


def proper(pattern: str, tenant: str) -> bool:
    """Whether a tenant matches the pattern, as SQLite is asked: `$` is no line's end, a NUL nobody's.

    Nor is a text that is no UTF-8, which nobody could name.
    """
    found = re.search(pattern, tenant, re.DOTALL)
    is_whole = not (tenant.endswith("\n") and pattern.endswith("$"))
    return found is not None and is_whole and "\0" not in tenant and shown(tenant) == tenant
