"""Which heads go and which come back, each with its reason.

In: a `HeadGrid` for each signal. Out: a `Plan`, plain data that is saved, printed, compared and applied elsewhere.
A strategy is a function and a `@strategy(...)` above it; a stranger's comes through the entry point group
`neural_plasticity.strategies`. No torch.
"""
