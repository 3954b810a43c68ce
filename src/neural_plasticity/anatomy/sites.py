"""`Anatomy`: a model's attention sites and, for each head, the slices of weights that are its own."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from neural_plasticity.heads import HeadId

Kind = Literal["decoder", "encoder", "cross"]
Role = Literal["q", "k", "v", "o", "gate"]
Per = Literal["head", "kv_head"]
Indices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slices:
    """Which rows (axis 0) or columns (axis 1) of a projection belong to each head, or to each key-value head.

    The axes are those of a Linear's weight, outputs × inputs, however the module itself stores it.
    """

    module: str
    role: Role
    axis: Literal[0, 1]
    per: Per
    indices: tuple[Indices, ...]


@dataclass(frozen=True, slots=True)
class Extra:
    """A parameter outside the projections with a part for each head: a position bias, a sink, a norm, a gate."""

    parameter: str
    axis: int
    per: Per
    indices: tuple[Indices, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """One attention module: how many heads it has, what each is made of, and whether they come apart."""

    layer: int
    name: str
    kind: Kind
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    calls: int
    groups: tuple[int, ...]
    slices: tuple[Slices, ...]
    extras: tuple[Extra, ...]
    separable: bool
    sliceable: bool
    reason: str
    seen: Literal["interface", "softmax"] = "interface"
    shared_with: tuple[int, ...] = ()  # layers whose slices lie in the same weights: to cut one is to cut all
    present: tuple[int, ...] | None = None  # where heads have left: the numbers that those here have had from the first

    def of_role(self, role: Role) -> list[Slices]:
        """The slices that play this role; several, where adapters stand beside a projection."""
        return [each for each in self.slices if each.role == role]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number that each head has for life."""
        return tuple(range(self.heads)) if self.present is None else self.present

    def rows(self, role: Role, head: int) -> dict[str, Indices]:
        """Of each module in this role, the rows (of q, k, v, gate) or columns (of o) that serve this query head."""
        return {each.module: each.indices[self.groups[head] if each.per == "kv_head" else head] for each in self.of_role(role)}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """All attention sites of a model, in the order in which it runs them."""

    model: str
    sites: tuple[Site, ...]
    asleep: tuple[str, ...] = ()  # what the example did not reach, as the half that sees by text alone

    @property
    def heads(self) -> list[HeadId]:
        """Every head of every site, by the number that it has for life."""
        return [HeadId(site.layer, head) for site in self.sites for head in site.numbers]

    @property
    def separable(self) -> bool:
        """Whether every head can be taken out without touching another."""
        return all(site.separable for site in self.sites)

    def __getitem__(self, layer: int) -> Site:
        return next(site for site in self.sites if site.layer == layer)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON takes; indices as ranges, such as `0:16,64:80`."""
        return {"model": self.model, "sites": [_spelled(site) for site in self.sites], "asleep": list(self.asleep)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Anatomy":
        """The anatomy that was spelled out by `as_dict`."""
        return cls(plain["model"], tuple(_read(site) for site in plain["sites"]), tuple(plain["asleep"]))

    def table(self) -> str:
        """A line for each site, in plain text."""
        rows = [("layer", "site", "kind", "heads", "kv", "width", "first head", "verdict")]
        rows += [_row(site) for site in self.sites]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows]
        lines += (
            [f"not reached by the example: {', '.join(self.asleep)}; pass example= with a batch that does"] if self.asleep else []
        )
        return "\n".join(line.rstrip() for line in lines)


def _row(site: Site) -> tuple[str, ...]:
    width = str(site.head_dim) if site.value_dim == site.head_dim else f"{site.head_dim}/{site.value_dim}"
    first = " ".join(f"{each.role}:{each.module.rpartition('.')[2]}[{ranges(each.indices[0])}]" for each in site.slices)
    verdict = ("separable" if site.sliceable else "separable, not sliceable") if site.separable else "not separable"
    heads = str(site.heads) if site.present is None else f"{site.heads} ({ranges(site.present)})"
    counts = (heads, str(site.kv_heads), width)
    return (str(site.layer), site.name, site.kind, *counts, first or "-", f"{verdict}: {site.reason}" if site.reason else verdict)


def ranges(indices: Sequence[int]) -> str:
    """Indices as half-open ranges: `0:16,64:80`."""
    breaks = [0, *(place for place, (one, other) in enumerate(pairwise(indices), 1) if other != one + 1), len(indices)]
    return ",".join(f"{indices[start]}:{indices[stop - 1] + 1}" for start, stop in pairwise(breaks) if stop > start)


def _indices(text: str) -> Indices:
    bounds = [tuple(map(int, part.split(":"))) for part in text.split(",") if part]
    return tuple(index for start, stop in bounds for index in range(start, stop))


def _spelled(site: Site) -> dict[str, Any]:
    plain = asdict(site)
    for part in (*plain["slices"], *plain["extras"]):
        part["indices"] = [ranges(indices) for indices in part["indices"]]
    plain |= {"groups": list(site.groups), "shared_with": list(site.shared_with)}
    plain["present"] = None if site.present is None else list(site.present)
    return plain


def _read(plain: dict[str, Any]) -> Site:
    values: dict[str, Any] = {each.name: plain.get(each.name) for each in fields(Site)}
    values |= {"groups": tuple(plain["groups"]), "shared_with": tuple(plain["shared_with"])}
    values["present"] = None if plain.get("present") is None else tuple(plain["present"])
    for name, kind in (("slices", Slices), ("extras", Extra)):
        values[name] = tuple(kind(**part | {"indices": tuple(map(_indices, part["indices"]))}) for part in plain[name])
    return Site(**values)
