"""Phases and cycles.

In: settings, a model, texts and sinks. Out: events, as they happen, and the model.
Here live the experiment itself, the evaluation of a model on held-out text, and its writing of samples.
"""
