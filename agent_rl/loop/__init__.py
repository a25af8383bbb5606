"""The training loop and what it stands on. Read `train.py` first."""
