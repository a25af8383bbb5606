"""Verdicts: canonical values, comparison, judging, recording of a data set's tests."""
