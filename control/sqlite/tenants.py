"""Whether a text names a tenant, where no statement has to know: in what is only read."""

import re


def proper(pattern: str, tenant: str) -> bool:
    """Whether a tenant matches the pattern, as SQLite is asked: `$` is no line's end, a NUL nobody's."""
    found = re.search(pattern, tenant, re.DOTALL)
    is_whole = not (tenant.endswith("\n") and pattern.endswith("$"))
    return found is not None and is_whole and "\0" not in tenant
