"""Looks for what a task's tests check and its tier cannot show them: variants of the oracle solution are the probe."""
