"""Putting heads to sleep and waking them: really, exactly, and reversibly.

In: a model and heads. Out: the same model, operated, with its past on it; every operation proved before it stands.
A head keeps its original number for life, whatever is removed around it.
"""
