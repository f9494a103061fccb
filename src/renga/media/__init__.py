"""Images and documents: what they are, where they come from, and the text that is in them."""
