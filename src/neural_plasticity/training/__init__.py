"""Steps of an optimizer: how far each head moves in them, when they have done their work, and how they go on after a stop.

In: a model, a recipe and batches. Out: the same model, a step further; what a step saw; what going on needs.
Here live the course, the rates of single heads, the order of batches, and the judges of losses.
"""
