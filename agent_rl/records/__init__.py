"""The records of a run: its folder, the files in it, and the types of their rows."""
