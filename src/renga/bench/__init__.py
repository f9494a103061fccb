"""`renga bench`: the engine beside its peers, and the API without a model.

For `engine`, `workloads` says what is measured, `bars` what must hold, `run` in which order;
`peers` are the engines, ours among them; `machine` is what the hardware can do at best. `http` is
the other, with `servers` for what it starts. Nothing here prints: the command does.
"""
