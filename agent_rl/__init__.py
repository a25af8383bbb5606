"""agent-rl: train coding agents with reinforcement learning, on verdicts that cannot be forged.

    Sampler.next ──> run_group ──> Environment.rollout <──> Policy.generate        messages <-> tokens in one place
                        │               └──> Submission ──> Verifier.judge ──> Verdict
                        v
                   Group ──> Objective.advantages ──> Buffer ──> pack ──> Learner.step ──> publish weights
                                                        ^                                      │
                                                        └── capacity and staleness ── Policy(version + 1)

Each arrow is a function of that name. One loop (`agent_rl.loop.train`) serves both modes: synchronous training is
`max_staleness = 0`. Importing this package loads neither torch, transformers, vLLM, Docker nor Ray.
"""

__version__ = "0.1.0"
