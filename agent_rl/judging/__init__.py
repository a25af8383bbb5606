"""Verdicts: one verifier (`task_verifier`), a judge for each kind of tests, blame, tiers, recording."""
