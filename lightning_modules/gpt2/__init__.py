"""GPT-2 beyond the network: generate, load and store weights, estimate memory."""
