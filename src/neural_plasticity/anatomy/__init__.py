"""What a model is made of, found by experiment.

In: a model and a tiny batch. Out: its attention sites, with the exact weights of every head.
Here live `dissect`, the taps through which everybody else watches or scales heads, and the bank of dormant heads.
"""
