"""Whether a task is worth training on: mutants, null agents, flaky and cheap tests."""
