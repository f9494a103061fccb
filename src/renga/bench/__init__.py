"""`renga bench engine`: the engine beside its peers, in one run on one machine.

`workloads` says what is measured, `bars` what must hold, `run` in which order; `peers` are the
engines, ours among them; `machine` is what the hardware can do at best. Nothing here prints: the
command does.
"""
