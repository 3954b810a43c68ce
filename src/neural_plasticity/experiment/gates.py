"""Gates in a run: those of sleeping heads learn, those of awake heads stay at 1, which their weights make up for.

So a layer whose last sleeper wakes loses nothing with its gates, and what is told of heads that are awake holds.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.cut import GATE
from neural_plasticity.surgery.modes import PruningMode
from neural_plasticity.surgery.surgeon import Surgeon


def follow(surgeon: Surgeon, optimizer: Optimizer, learning_rate: float) -> None:
    """Let an optimizer move what the model has now: gates that an operation brought, without decay, and none that it took off."""
    own = {id(parameter) for parameter in surgeon.model.parameters() if parameter.requires_grad}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in own:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in own]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    fresh = [parameter for parameter in surgeon.model.parameters() if id(parameter) in own - moved]
    if fresh:
        optimizer.add_param_group({"params": fresh, "weight_decay": 0.0, "lr": learning_rate})
    for gate, asleep in _gates(surgeon):
        for moment in optimizer.state.get(gate, {}).values():
            if isinstance(moment, Tensor) and moment.shape == gate.shape:
                moment.mul_(asleep)  # or what a head gathered asleep would move it awake


@contextmanager
def only_sleepers(surgeon: Surgeon) -> Iterator[None]:
    """No gate of an awake head moves until the block ends."""
    hooks = []
    try:
        for gate, asleep in _gates(surgeon):
            hooks.append(gate.register_hook(lambda slope, asleep=asleep: slope * asleep))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def shut(surgeon: Surgeon) -> Iterator[None]:
    """Every gate of a sleeping head at 0 until the block ends, as if it had learned nothing."""
    kept = [(gate, gate.data) for gate, _ in _gates(surgeon)]
    try:
        shut_for_good(surgeon, surgeon.dormant)
        yield
    finally:
        for gate, values in kept:
            gate.data = values


def shut_for_good(surgeon: Surgeon, heads: Iterable[HeadId]) -> None:
    """The gates of these sleeping heads at 0, from where a surgeon can wake them: what a gate learned goes as it opens."""
    asleep = set(heads)
    for layer, gate in _placed(surgeon):
        turned = gate.detach().clone()
        turned[[head.head for head in asleep if head.layer == layer]] = 0
        gate.data = turned


def _gates(surgeon: Surgeon) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Every gate, with 1 where a head sleeps behind it and 0 elsewhere."""
    past = past_of(surgeon.model)
    modes = {} if past is None else past.modes
    for layer, gate in _placed(surgeon):
        asleep = [modes.get(HeadId(layer, head)) == PruningMode.GATE for head in range(len(gate))]
        yield gate, torch.tensor(asleep, dtype=gate.dtype, device=gate.device)


def _placed(surgeon: Surgeon) -> Iterator[tuple[int, nn.Parameter]]:
    for site in surgeon.anatomy:
        for each in site.of_role("o"):
            gate = surgeon.model.get_submodule(each.module)._parameters.get(GATE)
            if gate is not None:
                yield site.layer, gate
