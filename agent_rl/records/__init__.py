"""What a run writes down: its folder, and the rows and files in it, with the nouns that they are made of."""
