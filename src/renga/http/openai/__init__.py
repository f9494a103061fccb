"""OpenAI's chat and models beside the Messages API: a thin edge over the same gateway."""
