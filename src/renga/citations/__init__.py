"""Citations: which place of a document or a search result a sentence of an answer rests on."""
