"""BERT's other heads: labels for texts, pairs of texts and words."""
