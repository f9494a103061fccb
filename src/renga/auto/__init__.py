"""`model: "auto"`: the tier that a request is worth, chosen for it.

How hard a request is says `difficulty`, what follows from that `choosing`.
"""
