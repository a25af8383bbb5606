"""The training side: `torch_learner` (reinforcement), `scratch` (new small models), `sft` (supervised start).

Only the processes that train import what is in here; `import agent_rl.learner` itself loads no torch.
"""
