"""Docker and local sandboxes, their workers, and the programs that run inside."""
