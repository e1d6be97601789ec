"""What is done to a whole store: looked over, rescued, exported, imported, migrated."""
