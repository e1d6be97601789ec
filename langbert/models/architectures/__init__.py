"""Networks that came before BERT and GPT, or beside them: encoder–decoder, recurrent, Transformer-XL."""
