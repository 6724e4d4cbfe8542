"""What a row costs in WAL, so that a limit in bytes a second can be paid for in rows."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: Taken for the cost of a row before any was measured; 370 to 650 bytes were, full pages left aside.
_GUESS = 1_000.0
#: So many samples are looked back on, one a second: a row's cost swings with checkpoints and with the tables.
_WINDOW = 11
#: The calm cost rises by no more than this factor a sample.
_FOLLOWS = 1.2


class Cost(BaseModel):
    """The server's WAL by the rows paid for, over the last ten seconds.

    It is the WAL of the server as a whole, the application's included: where that alone writes more than the
    limit, the backfill all but stands still. `seen` holds bytes of WAL and rows so far, oldest first. `calm`
    is what a row cost when least else was written, and never less than the guess.
    """

    model_config = ConfigDict(frozen=True)

    seen: tuple[tuple[float, float], ...] = ()
    bytes_per_row: Annotated[float, Field(gt=0)] = _GUESS
    calm: float = _GUESS

    def and_now(self, written: float, rows: float, limit: float | None = None) -> "Cost":
        """The cost with one more sample; `limit` is in bytes of WAL a sample.

        While no row is paid for it stays, or is halved down to the calm one once less than the limit is
        written: made dear by the application's WAL, a row let no batch go for 40 s after that had ended.
        """
        # Both begin anew, the rows with a flush of the queue server, the WAL with a server that was restored.
        anew = bool(self.seen) and (rows < self.seen[-1][1] or written < self.seen[-1][0])
        seen = ((written, rows),) if anew else (*self.seen, (written, rows))[-_WINDOW:]
        (written_then, rows_then), (written_now, rows_now) = seen[0], seen[-1]
        written_before, rows_before = seen[-2] if len(seen) > 1 else seen[-1]
        paid = rows_now > rows_before
        if not paid and limit is not None and written_now - written_before < limit:
            eased = max(self.bytes_per_row / 2, min(self.bytes_per_row, self.calm))
            return self.model_copy(update={"seen": seen, "bytes_per_row": eased})
        if rows_now <= rows_then or written_now <= written_then:
            return self.model_copy(update={"seen": seen})
        cost = (written_now - written_then) / (rows_now - rows_then)
        # Another table's rows may cost more: it follows, but not at once, as it may be the application's WAL.
        calm = max(_GUESS, min(cost, self.calm * _FOLLOWS)) if paid else self.calm
        return Cost(seen=seen, bytes_per_row=cost, calm=calm)
