"""What an optimizer holds, as plain values and tensors by the names of the weights: written anywhere without pickle."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from neural_plasticity.errors import TrainingError

Plain = dict[str, Any]
PLAIN = (bool, int, float, str, type(None))


def names_of(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """The names of the weights in each group of an optimizer; a refusal where it moves what is not the model's."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = []
    for number, group in enumerate(optimizer.param_groups):
        strangers = [parameter for parameter in group["params"] if id(parameter) not in names]
        if strangers:
            raise TrainingError(
                f"Group {number} of the {type(optimizer).__name__} holds a weight of shape {tuple(strangers[0].shape)} that "
                f"is not in {type(model).__name__}; make the optimizer from this model's parameters."
            )
        found.append([names[id(parameter)] for parameter in group["params"]])
    return found


def kept(model: nn.Module, optimizer: Optimizer) -> tuple[Plain, dict[str, Tensor]]:
    """Everything that the optimizer holds: its groups and single numbers, and its tensors by `weight/moment`, copied."""
    groups, numbers, tensors = [], {}, {}
    for names, group in zip(names_of(model, optimizer), optimizer.param_groups, strict=True):
        values = {key: _plain(key, value) for key, value in group.items() if key != "params"}
        groups.append({"weights": names, "values": values})
        for name, parameter in zip(names, group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{key}"] = value.detach().to("cpu", copy=True).contiguous()
                else:
                    numbers[f"{name}/{key}"] = _plain(key, value)
    return {"kind": type(optimizer).__name__, "groups": groups, "numbers": numbers}, tensors


def put_back(model: nn.Module, optimizer: Optimizer, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Let the optimizer hold again what `kept` told of it."""
    _require_same(model, optimizer, plain)
    found: dict[str, dict[str, Any]] = {}
    for place, value in {**plain["numbers"], **tensors}.items():
        name, _, key = place.rpartition("/")
        found.setdefault(name, {})[key] = value
    strangers = set(found) - {name for group in plain["groups"] for name in group["weights"]}
    if strangers:
        raise TrainingError(f"The state holds moments of {min(strangers)}, which its optimizer does not move; it is not whole.")
    for group, was in zip(optimizer.param_groups, plain["groups"], strict=True):
        for name, parameter in zip(was["weights"], group["params"], strict=True):
            moments = {key: _placed(name, key, value, parameter, group) for key, value in found.get(name, {}).items()}
            optimizer.state.pop(parameter, None)
            if moments:
                optimizer.state[parameter] = moments
        for key, value in was["values"].items():
            _set(group, key, value)


def _set(group: dict[str, Any], key: str, value: Any) -> None:
    """Put a value of a group back, in the form in which the group has it."""
    mine = group.get(key)
    if isinstance(mine, Tensor):
        mine.fill_(value)
    else:
        group[key] = tuple(value) if isinstance(value, list) and isinstance(mine, tuple) else value


def _require_same(model: nn.Module, optimizer: Optimizer, plain: Mapping[str, Any]) -> None:
    kind = type(optimizer).__name__
    if kind != plain["kind"]:
        raise TrainingError(f"The state is of an {plain['kind']}, and this course has an {kind}; make the optimizer the same way.")
    mine, theirs = names_of(model, optimizer), [group["weights"] for group in plain["groups"]]
    if mine != theirs:
        odd = {name for names in mine for name in names} ^ {name for names in theirs for name in names}
        seen = f"only one of both has {min(odd)}" if odd else "they are grouped in another way"
        raise TrainingError(f"The state is of other weights than this {kind} moves: {seen}; make the optimizer the same way.")


def _placed(name: str, key: str, value: Any, parameter: nn.Parameter, group: Mapping[str, Any]) -> Any:
    """A moment where the optimizer wants it: beside the weight, but for counts of steps that are kept on the CPU."""
    if not isinstance(value, Tensor):
        return value
    fits = value.dim() != parameter.dim() or all(own in (1, whole) for own, whole in zip(value.shape, parameter.shape, strict=True))
    if not fits:
        raise TrainingError(
            f"The state's {key} of {name} is {tuple(value.shape)}, and the weight {tuple(parameter.shape)}: it is of a model with "
            "other heads; load that one first."
        )
    counts = key == "step" and not (group.get("fused") or group.get("capturable"))
    return value.detach().to("cpu" if counts else parameter.device, copy=True)


def _plain(key: str, value: Any) -> Any:
    """A value that JSON can hold, or a refusal."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(key, each) for each in value]
    if not isinstance(value, PLAIN):
        raise TrainingError(
            f"The optimizer holds {key} as a {type(value).__name__}, which cannot be written without running code on reading; "
            "use one that holds tensors and numbers."
        )
    return value


def cleared(model: nn.Module) -> None:
    """No gradients left on a model."""
    for parameter in model.parameters():
        parameter.grad = None


def scaled(model: nn.Module, factor: float) -> None:
    """All gradients times a factor."""
    for parameter in model.parameters() if factor != 1 else ():
        if parameter.grad is not None:
            parameter.grad.mul_(factor)
