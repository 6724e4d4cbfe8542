"""Whether a text is a tenant's name, as the pattern of the plan has it, without a regular expression.

SQLite has none, and the write guard asks in the application's own connection, where no function of ours is.
A pattern of one class of letters, and how many, is GLOB and length().
"""

import re

from sql.sqlite.names import literal

#: `^[…]{1,255}$`, as the pattern of most plans is; `.` for any letters, `+` and `*` for any number of them.
_ONE_CLASS = re.compile(
    r"\^(?:\.|\[(?P<not>\^?)(?P<letters>[^\[\]\\^][^\[\]\\]*)\])"
    r"(?:(?P<any>[+*])|\{(?P<least>\d{1,9})(?P<to>,(?P<most>\d{1,9})?)?\})\$"
)


def fits(value: str, pattern: str) -> str | None:
    """Compose whether a text matches the pattern, unknown for NULL; None for a pattern that GLOB can't say.

    `value` is worked out more than once, which is cheaper than a subquery that keeps it. A text ends at its
    NUL for `length` and GLOB; what comes behind it would be no part of what they look at.
    """
    found = _ONE_CLASS.fullmatch(pattern)
    if found is None:
        return None
    asked = [f"instr({value}, char(0)) = 0"]
    if found["letters"] is not None:
        other = found["letters"] if found["not"] else f"^{found['letters']}"
        asked.insert(0, f"{value} NOT GLOB {literal(f'*[{other}]*')}")
    asked.insert(0, _so_many(value, found))
    return f"({' AND '.join(asked)})"


def _so_many(value: str, found: re.Match[str]) -> str:
    if found["any"]:
        return f"length({value}) >= {1 if found['any'] == '+' else 0}"
    least = int(found["least"])
    if found["to"] is None:
        return f"length({value}) = {least}"
    if found["most"] is None:
        return f"length({value}) >= {least}"
    return f"length({value}) BETWEEN {least} AND {int(found['most'])}"
