"""Supervised fine-tuning (SFT) of the same models as the learner's, split among ranks. Read `train_model.py` first."""
