"""The catalogue of faults, a file each.

A fault is a module with a docstring that says what happens, and `strike(stage)`, which brings the fault about, confirms
that it is there, lets a time pass, and undoes it. What it returns is noted beside it.
"""
