"""Weights on their way from the learner to the engines: memory that several processes see, and its two ends."""
