"""A conversation → the next turn, written here or by a server that the user names."""
