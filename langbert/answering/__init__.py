"""A question and what was found for it → an answer with its evidence."""
