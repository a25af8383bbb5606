"""pass@k on held-out suites, with intervals that can be trusted, from exactly one policy version."""
