"""Costs: what answers will cost, what they cost, and whether that adds up."""
