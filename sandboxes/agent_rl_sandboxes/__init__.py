"""Docker and local sandboxes, their slots, and the programs that run inside."""
