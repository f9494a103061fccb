"""Bulk work over tables: a function of a row, asked for every row of a file, durable row by row.

`files` reads and writes tables, `prompts` makes a question of a row, `jobs` sees to it that each
row is done once, `asking` and `elsewhere` are functions of a row: the gateway in this process, and
a server.
"""
