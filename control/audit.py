"""How an entry of the audit reads."""

from worker.audit import Event


def figures(event: Event) -> str:
    """Say of a statement, in brackets, its lock and its times, or why it failed; nothing of anything else."""
    if event.statement is None:
        return ""
    lock = "" if event.lock == "none" else f"{event.lock}, "
    if event.error is not None:
        return f" ({lock}failed: {event.error})"
    if event.took_ms is None:
        return f" ({lock}not known to have ended)"
    attempts = f" in {event.attempts} attempts" if (event.attempts or 1) > 1 else ""
    return f" ({lock}waited {event.waited_ms:.0f} ms{attempts}, took {event.took_ms:.0f} ms)"
