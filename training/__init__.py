"""The recipe of the shipped models: data, tokenizer, training, export, scores, card."""
