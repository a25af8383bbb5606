"""Supervised training with the same models as the learner, shared out among ranks. Read `imitate.py` first."""
