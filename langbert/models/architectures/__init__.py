"""What the story tells beside BERT and GPT: the encoder–decoder Transformer, recurrent networks, Transformer-XL."""
