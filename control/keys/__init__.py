"""The keys that will hold the tenant: what they are on both sides, and the steps between."""
