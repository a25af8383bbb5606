"""The training loop and its parts. Read `train.py` first."""
