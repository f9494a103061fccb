"""llama.cpp as an engine: a process of its own for each model, reached over a private socket."""
