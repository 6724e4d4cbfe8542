"""What tests of the governor share: limits, a calm sample, settings."""

from worker.governor.limits import Limit, Sample, SignalName
from worker.ledger import Settings

LIMITS: dict[SignalName, Limit] = {
    "lag": Limit(max=1.5, stop=5),
    "lag_bytes": Limit(max=64, stop=512),
    "waiting": Limit(max=2, stop=10),
    "snapshot": Limit(max=300, stop=3600),
}
CALM = Sample(values={"waiting": 0, "snapshot": 0})


def settings_of(**changes: object) -> Settings:
    """Settings with these limits and a throttle, but for what is changed."""
    told = {"target": 0.1, "synchronous_commit": "on", "throttle": True, "limits": LIMITS}
    return Settings.model_validate(told | changes)
