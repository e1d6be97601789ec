"""BERT's other heads: labels for texts, pairs of texts and words, entities and how they are related."""
