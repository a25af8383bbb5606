"""Converts an environment's messages to tokens and back. `run_group` makes groups; `pack` makes batches from groups.

chat            messages <-> text <-> ids, with the model's own chat template
message_markup  keeps message content apart from the template's markup
conversation    the token tree of one rollout: sampled tokens are never tokenized again
tools           async functions as tools; tool calls from the model's text
policy_agent    the agents that environments converse with
run_group       one rollout, one group
pack            groups -> rows
"""
