"""Words and sentences: where sentences end, which terms a text has, in which script it is written."""
