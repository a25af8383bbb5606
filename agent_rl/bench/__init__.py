"""The figures that this project stands by, measured on the machine at hand: what `agent-rl bench` runs."""
