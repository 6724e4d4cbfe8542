"""What a row costs in WAL, so that a limit in bytes a second can be paid for in rows."""

from pydantic import BaseModel, ConfigDict

#: Taken for the cost of a row before any was measured; 370 to 650 bytes were, full pages left aside.
_GUESS = 1_000.0
#: So many samples are looked back on, one a second: a row's cost swings with checkpoints and with the tables.
_WINDOW = 11


class Cost(BaseModel):
    """The server's WAL by the rows paid for, over the last ten seconds.

    It is the WAL of the server as a whole, the application's included: where that alone writes more than the
    limit, the backfill all but stands still. `seen` holds bytes of WAL and rows so far, oldest first.
    """

    model_config = ConfigDict(frozen=True)

    seen: tuple[tuple[float, float], ...] = ()
    bytes_per_row: float = _GUESS

    def and_now(self, written: float, rows: float) -> "Cost":
        """The cost with one more sample; unchanged where no row was paid for meanwhile."""
        # Both begin anew, the rows with a flush of the queue server, the WAL with a server that was restored.
        anew = bool(self.seen) and (rows < self.seen[-1][1] or written < self.seen[-1][0])
        seen = ((written, rows),) if anew else (*self.seen, (written, rows))[-_WINDOW:]
        (written_then, rows_then), (written_now, rows_now) = seen[0], seen[-1]
        if rows_now <= rows_then or written_now <= written_then:
            return Cost(seen=seen, bytes_per_row=self.bytes_per_row)
        return Cost(seen=seen, bytes_per_row=(written_now - written_then) / (rows_now - rows_then))
