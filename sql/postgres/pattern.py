"""Whether a text is a tenant's name, as the pattern of the plan has it, asked so that it costs little."""

import re

from psycopg import sql

#: `^[…]{1,255}$`, as the pattern of most plans is: letters of one class, and how many.
_SO_MANY = re.compile(r"\^(?P<letters>\[\^?[^\[\]\\]+\])\{(?P<least>\d{1,9}),(?P<most>\d{1,9})\}\$")


def fits(value: sql.Composable, pattern: str) -> sql.Composed:
    """Compose whether a text matches the pattern; unknown for NULL.

    The server's regular expressions keep a state for each repetition that is counted: 12 us for a name of six
    letters by `{1,255}`, and 0.6 us by `+` and its length. The value is worked out once: it may be a field of
    a document that has to be fetched and unpacked.
    """
    counted = _SO_MANY.fullmatch(pattern)
    if counted is None:
        return sql.SQL("{} ~ {}").format(value, sql.Literal(pattern))
    return sql.SQL(
        "(SELECT v ~ {} AND length(v) BETWEEN {} AND {} FROM (SELECT {} OFFSET 0) AS given (v))"
    ).format(
        sql.Literal(f"^{counted['letters']}*$"),
        sql.Literal(int(counted["least"])),
        sql.Literal(int(counted["most"])),
        value,
    )
