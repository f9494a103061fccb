"""The HTTP edge: the Messages API over the gateway. It translates and validates, nothing else."""
