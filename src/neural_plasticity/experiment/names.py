"""The names of the numbers that a run comes to, for those who write them and for those who print them."""

BEFORE = "_before"  # behind the name of a number: what it was at first
WHOLE = "all heads"  # what the comparison of speeds calls the untouched architecture
DIFFERENCE = "loss_difference"  # to the model as it came
FROM_WARM = "loss_difference_from_warm"  # to the model after its warm-up: what the cut and its recovery alone did
BOUNDS = ("_low", "_high")  # behind the name of a difference: between which it lies by 95 %

# What an evaluation and the summary of a run tell by themselves.
TAKEN = (
    *("loss", "loss_nats", "perplexity", "tokens"),
    *("heads", "parameters", "parameter_bytes", "cache_bytes_per_token", "steps"),
    *(f"{name}{bound}" for name in (DIFFERENCE, FROM_WARM) for bound in ("", *BOUNDS)),
    *("prefill_ratio", "decode_ratio"),
)
