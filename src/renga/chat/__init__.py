"""Between the API's words and a model's tokens: template, tokenizer, schema."""
