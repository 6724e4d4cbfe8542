"""The webhook: what it is sent, how that is signed, and who sends it."""
