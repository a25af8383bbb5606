"""Loss aggregations: registered under `agent_rl.aggregations`.

With G groups and N surviving rollouts in a token's own group, its factor is

    constant        1 / (N G length), length 1 unless set
    token_mean      1 / (trained tokens of all rollouts of all groups)
    sequence_mean   1 / (N G trained tokens of its rollout)

`constant` is what the estimators' proofs hold for: each group's sum of A_i S_i over its N, averaged over groups. The
others are biased: a random number of tokens correlates with the outcome. `sequence_mean` is GRPO's and GSPO's,
`token_mean` DAPO's, `constant` with a length Dr.GRPO's.
"""
