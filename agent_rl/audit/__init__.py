"""Checks whether a task is worth training on: mutants, null agents, flaky and weak tests."""
