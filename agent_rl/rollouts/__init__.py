"""From an environment's messages to tokens and back: `run_group` makes groups, `pack` makes batches of them.

chat          messages <-> text <-> ids, with the model's own chat template
conversation  the token tree of one rollout: nothing that was sampled is tokenized again
tools         async functions as tools; calls read from the model's text
agent         what an environment talks to
run           one rollout, one group
pack          groups -> rows
"""
