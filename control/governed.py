"""What the governor saw last and what it made of it, read from the ledger: no queue server is asked."""

from control.holds import Fact
from sql.database import Database
from worker import ledger
from worker.governor.limits import LABELS, Limit, SignalName
from worker.governor.pace import STALE_AFTER
from worker.governor.shared import judged
from worker.governor.zones import Zone
from worker.ledger import Settings


class SignalStatus(Fact):
    """A signal in its own unit; seconds, bytes, counts, shares of 1. None where there is no such thing.

    `value` is missing where it does not apply, as lag without a standby, and where `unreadable` says why it
    can't be read; `detail` is what stands behind it.
    """

    signal: SignalName
    label: str
    value: float | None
    detail: str | None
    limit: float | None
    stop: float | None
    unreadable: str | None


class GovernorStatus(Fact):
    """The pace: its zone, the share of full speed, the reason for less than that, and every signal."""

    zone: Zone
    share: float
    reason: str
    sample_age_seconds: float
    signals: tuple[SignalStatus, ...]

    def now(self, signal: SignalName) -> float | None:
        """What a signal reads, in its own unit; None where there is no such thing, or its sample is old.

        Without workers nobody samples: a lag that stands still looks like health (lessons: vitess#16575).
        """
        if self.sample_age_seconds > STALE_AFTER:
            return None
        return next(each.value for each in self.signals if each.signal == signal)

    @property
    def slowed_by(self) -> str | None:
        """What takes speed away now, as its reason begins; None where nothing does."""
        slows = self.zone in {Zone.SHED, Zone.HALVE, Zone.HOLD}
        return self.reason.partition(":")[0] if slows else None

    @property
    def unreadable(self) -> tuple[SignalStatus, ...]:
        """The signals that have a limit and can't be read."""
        return tuple(
            each
            for each in self.signals
            if each.unreadable is not None and (each.limit is not None or each.stop is not None)
        )


def read(connection: Database, migration: int, settings: Settings) -> GovernorStatus | None:
    """The last sample; None before the first, and where nothing is sampled."""
    found = ledger.governor(connection, migration)
    if found is None or not settings.sampled:
        return None
    limits, sample = judged(settings), found.sample
    none = Limit(max=None, stop=None)
    return GovernorStatus(
        zone=Zone(found.zone),
        share=found.share,
        reason=found.reason,
        sample_age_seconds=max(0.0, found.age),
        signals=tuple(
            SignalStatus(
                signal=signal,
                label=sample.label(signal),
                value=sample.values.get(signal),
                detail=sample.details.get(signal),
                limit=limits.get(signal, none).max,
                stop=limits.get(signal, none).stop,
                unreadable=sample.unreadable.get(signal),
            )
            for signal in LABELS
        ),
    )
