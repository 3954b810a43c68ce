"""What the work is done on.

In: names that a user types. Out: models, tokenizers, documents and batches.
Here live the loaders for hub, folders and files, the train and held-out split, and `tiny`, the embedded model.
"""
