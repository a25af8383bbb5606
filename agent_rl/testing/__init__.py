"""Fakes that pass the contracts' conformance suites, for tests of one's own: no model, no sandbox, no waiting."""
