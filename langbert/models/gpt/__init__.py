"""GPT and Llama: the network, its fast path, the names of its checkpoints, and loading it."""
