"""What `agent-rl bench` runs: measures this project's published figures on the current machine."""
