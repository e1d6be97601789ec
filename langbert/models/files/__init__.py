"""Where weights come from and how they are read: names, downloads, tokenizers, safetensors, GGUF."""
