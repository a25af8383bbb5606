"""The training side: `torch_learner` (reinforcement), `scratch_model` (new small models), `start_learner`.

Only the processes that train load torch; the controller starts them with `start_learner`, which does not.
"""
