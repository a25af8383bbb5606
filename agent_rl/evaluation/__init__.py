"""pass@k on held-out suites, with reliable confidence intervals, for exactly one policy version."""
