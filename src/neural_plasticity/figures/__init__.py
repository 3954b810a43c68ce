"""Pictures of heads and of runs: arrays in, a matplotlib `Figure` out, without pyplot and without torch.

In: torch tensors, arrays, `HeadGrid`s, lists, dicts by layer, tables of results. Out: a `Figure` that shows and saves itself.
Here live the themes with the colours of meaning, the canvas, the one coercion, and a file for each kind of picture.
"""
