"""Experiments: many runs that differ in a few settings, what they show, and a table and a figure of it.

    Experiment (a TOML file) ──> planned_runs ──> run_experiment ──> results.jsonl ──> summarise ──> table.md, *.svg
                                                       │                                   └──> failed checks
                                                       └── one child process a run: `agent-rl train`, the ordinary loop

A run that has a line in results.jsonl is not repeated; one that was interrupted goes on from its last checkpoint.
"""
