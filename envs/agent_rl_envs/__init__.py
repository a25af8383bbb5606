"""Environments that come with agent-rl; each uses only the public API that a user's own would use."""
