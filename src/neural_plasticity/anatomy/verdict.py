"""Whether the heads of a study come apart, and if not, through what they hang together, in words."""

from neural_plasticity.anatomy.provenance import features_behind
from neural_plasticity.anatomy.sites import Role
from neural_plasticity.anatomy.study import Study

_ROLES: tuple[Role, ...] = ("q", "k", "v", "o")


def obstacle(study: Study) -> str:
    """Why the heads do not come apart; empty where they do."""
    if study.attended.hidden_heads:
        return "it runs inside torch's multi_head_attention_forward or in a layout of its own, and shows neither heads nor weights"
    checks = (_layout, _roles, _readers, _grouping, _second_reader, _crossing, _gates, _unequal)
    return next((reason for check in checks if (reason := check(study))), "")


def _layout(study: Study) -> str:
    """Scores are (batch, heads, queries, keys), so that it can be told which token is which."""
    scores = study.attended.scores
    if scores is None or (scores.dim() == 4 and study.axis == 1):
        return ""
    return "it attends in blocks of its own layout, in which queries and keys cannot be told apart"


def _roles(study: Study) -> str:
    """Each of q, k, v and o has a projection in which every head, or every group, owns a part."""
    for role in _ROLES:
        shares = study.shares[role]
        count = study.kv_heads if role in ("k", "v") else study.heads
        if not shares:
            return f"{role} cannot be traced to a projection" if role != "o" else "no projection reads its output"
        mixed = next((name for name, each in shares.items() if each.mixed), None)
        whole = not any(each.divided and len(each.owned) == count for each in shares.values())
        if mixed or (whole and count > 1):
            return f"{role} of each head depends on what {mixed or next(iter(shares))} gives to the others{_between(study)}"
    return ""


def _readers(study: Study) -> str:
    """Nothing reads the output but by columns that are a head's own."""
    for name, each in study.shares["o"].items():
        if not each.divided or len(each.owned) != study.heads:
            return f"{name} reads the output of several heads at once"
    return ""


def _grouping(study: Study) -> str:
    """Keys and values are grouped alike, and so is everything else that goes by group."""
    for role, shares in study.shares.items():
        for name, each in shares.items():
            if each.divided and study.per(each) is None:
                return f"{role} goes by other groups of heads in {name} than keys and values do"
    return f"{study.odd[0]} is divided otherwise than the heads are" if study.odd else ""


def _crossing(study: Study) -> str:
    """No row that is one head's own reaches another head, by whatever way."""
    for each in study.slices:
        if each.axis == 1 or each.module not in study.reach:
            continue
        for place, rows in enumerate(each.indices):
            for head, reached in enumerate(study.reach[each.module]):
                owner = study.groups[head] if each.per == "kv_head" else head
                if owner != place and reached.intersection(rows):
                    return f"{each.role} of several heads depends on the same rows of {each.module}{_between(study)}"
    return ""


def _gates(study: Study) -> str:
    """What else reaches the heads reaches them apart, or all of them alike."""
    mixed = next((name for name, each in study.shares["gate"].items() if each.mixed), None)
    return f"{mixed} reaches the output of several heads at once" if mixed else ""


def _unequal(study: Study) -> str:
    """All heads own as much: else some of it was not seen, as behind a maximum or a clipped value."""
    for each in study.slices:
        if len({len(indices) for indices in each.indices}) > 1:
            return f"heads own unequal numbers of rows of {each.module}, so not all of its ways could be seen"
    return ""


def _second_reader(study: Study) -> str:
    """Before attention, no projection mixes what belongs to the heads."""
    owned: dict[str, set[int]] = {}
    for each in study.slices:
        if each.axis == 0:
            owned.setdefault(each.module, set()).update(*each.indices)
    sources = [each for each in study.before if each.name in owned]
    for reader in study.before:
        if reader.name in study.shares["o"]:
            continue  # of an earlier call of the same module
        behind = features_behind(reader.read, [each.wrote for each in sources])
        for source, features in zip(sources, behind, strict=True):
            if features & owned[source.name]:
                return f"{reader.name} reads q, k or v of all heads besides attention"
    return ""


def _between(study: Study) -> str:
    """The modules of the site that hold weights of their own besides projections: the likely culprits."""
    prefix = f"{study.name}." if study.name else ""
    inner = {name.removeprefix(prefix).rpartition(".")[0] for name in study.parameters if name.startswith(prefix)} - {""}
    kinds = [f"{name} ({study.kinds[prefix + name]})" for name in sorted(inner)]
    return f"; between them lie {', '.join(kinds)}" if kinds else ""
