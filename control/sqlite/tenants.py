"""Whether a text names a tenant, where no statement has to know: in what is only read."""

import re


def proper(pattern: str, tenant: str) -> bool:
    """Whether a tenant matches the pattern, as a server would say: `$` is the end, and no line's."""
    found = re.search(pattern, tenant)
    return found is not None and not (tenant.endswith("\n") and pattern.endswith("$"))
