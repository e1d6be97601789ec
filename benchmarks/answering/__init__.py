"""Who answers, and the tables of ``answers.py`` and ``aragog.py``."""
