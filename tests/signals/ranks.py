"""What each rank of a distributed run does in the tests beside this file; started by `torch.distributed.run`, not imported."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.distributed import destroy_process_group, get_rank, get_world_size, init_process_group

from neural_plasticity.errors import PlasticityError
from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import Measurement, measure
from tests.anatomy.models import gpt2, ids, llama

EVERY = [name for name in signals() if name != "wake"]
WORDS = ids(10, 14)
LABELS = WORDS.masked_fill(WORDS % 3 == 0, -100)
BATCHES = [
    {"input_ids": words, "labels": labels}
    for words, labels in zip(WORDS.split([2, 3, 1, 2, 2]), LABELS.split([2, 3, 1, 2, 2]), strict=True)
]


def close(one: Measurement, other: Measurement) -> None:
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=1e-4, atol=1e-6, err_msg=name)
    assert one.samples == other.samples


def exchanged(found: Measurement) -> list[dict[str, list]]:
    everybody: list = [None] * get_world_size()
    torch.distributed.all_gather_object(everybody, {name: grid.values.tolist() for name, grid in found.items()})
    return everybody


def refused(batches, names=("taylor",), **how) -> str:
    try:
        measure(gpt2(), batches, list(names), **how)
    except PlasticityError as fault:
        return f"{type(fault).__name__}: {fault}"
    return "nothing was refused"


def main(folder: Path) -> None:
    expected = measure(llama(), BATCHES, EVERY)  # before there are ranks
    init_process_group("gloo")
    rank = get_rank()
    assert get_world_size() == 2
    mine = BATCHES[:2] if rank == 0 else BATCHES[2:]  # 5 samples each, in 2 and 3 batches
    found = measure(llama(), mine, EVERY)
    close(found, expected)
    assert exchanged(found)[0] == exchanged(found)[1]

    uneven = BATCHES[:4] if rank == 0 else BATCHES[4:]
    wrapped = torch.nn.parallel.DistributedDataParallel(llama())
    close(measure(wrapped, uneven, EVERY), expected)

    said = {
        "labels": refused(BATCHES[:1] if rank == 0 else [{"input_ids": WORDS}]),
        "mapping": refused([WORDS] if rank == 0 else BATCHES, ["entropy", "gradient"]),
        "nobody": refused([], ["entropy"]),
        "afterwards": "equal" if exchanged(measure(gpt2(), mine, EVERY[:3])) else "",
    }
    (folder / f"{rank}.json").write_text(json.dumps(said))

    close(measure(llama(), BATCHES if rank == 0 else [], EVERY), expected)
    (folder / f"{rank}.idle.json").write_text(json.dumps("the same"))
    destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
