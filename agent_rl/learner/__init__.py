"""The training side: `torch_learner` (reinforcement learning), `scratch_model` (new small models), `start_learner`.

Only the training processes load torch. The controller starts them with `start_learner`, which does not load it.
"""
