"""What each head is worth.

In: a model, batches, the names of signals. Out: a `HeadGrid` for each, measured in one pass that all of them share.
A signal is a function and a `@signal(...)` above it; a stranger's comes through the entry point group
`neural_plasticity.signals` and gets the same pass.
"""
