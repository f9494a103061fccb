"""renga: a self-hosted Claude API."""
