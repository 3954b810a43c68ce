"""The one pass that all signals share: taps at every site, gates on every head, a loss and its slopes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.bank import Bank, parts_of
from neural_plasticity.anatomy.overhear import Ear, Scored, overheard
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import Call, Tap, open_taps
from neural_plasticity.anatomy.trace import differentiable
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.heads import HeadId
from neural_plasticity.signals.attended import Attended
from neural_plasticity.signals.base import FROM_ATTENTION, FROM_OUTPUT, Needs, Signal
from neural_plasticity.signals.gates import Gated
from neural_plasticity.signals.hearing import Hearing
from neural_plasticity.signals.objectives import Objective, checked, samples_of
from neural_plasticity.signals.outputs import Heard
from neural_plasticity.signals.tally import Tally


class Capture:
    """Reads signals off batch after batch; what it has read lies in its tally."""

    def __init__(
        self, model: nn.Module, anatomy: Anatomy, signals: Sequence[Signal], objective: Objective, bank: Bank, tally: Tally
    ) -> None:
        self.model, self.anatomy, self.objective, self.tally = model, anatomy, objective, tally
        self._needs = Needs(0)
        for each in signals:
            self._needs |= each.needs
        self._of_attention = [each for each in signals if each.needs & FROM_ATTENTION]
        self._of_output = [each for each in signals if each.needs & Needs.OUTPUT]
        self._of_gates = [each for each in signals if each.needs & (Needs.GATES | Needs.DORMANT)]
        self._dormant = set(bank.heads)
        self._wanted = self._weights() if self._needs & Needs.GRADIENTS else {}
        self._hearing = Hearing()
        self._gates: dict[Site, Tensor] = {}
        self._extremes: dict[Site, Tensor] = {}
        self._samples = self._number = 1

    @property
    def learns(self) -> bool:
        """Whether a pass needs a loss and its slopes."""
        return bool(self._needs & (Needs.GATES | Needs.DORMANT | Needs.GRADIENTS))

    @property
    def needed(self) -> bool:
        """Whether any signal needs this pass at all."""
        return bool(self._needs & ~(Needs.WEIGHTS | Needs.LESIONS))

    def add(self, batch: Mapping[str, Any], number: int) -> None:
        """Read one batch, the `number`th, of a model whose attributes the caller puts back."""
        self._samples, self._number = samples_of(self.model, batch), number
        self._hearing.begin(self.model, batch)
        for kept in (self._gates, self._extremes):
            kept.clear()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._wanted)
        with torch.set_grad_enabled(self.learns), self._attached():
            outputs = self.model(**batch)
            self._require_finite()
            if self.learns:
                self._learn(outputs, batch)
        self.tally.samples += self._samples

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Attached to the model, until the block ends."""
        tappable = [site for site in self.anatomy if site.seen == "interface" or site.of_role("o")]
        for site in set(self.anatomy) - set(tappable):
            self.tally.refuse(site, f"it attends by its own code and its output cannot be tapped: {site.reason}", FROM_OUTPUT)
        ears = {site: self._ear(site) for site in self.anatomy if site.seen == "softmax" and self._of_attention}
        for site in ears:  # it stands where no ear hears anything
            self.tally.refuse(
                site, f"its attention lies in a layout of its own: {site.reason or 'no softmax by head'}", FROM_ATTENTION
            )
        taps: dict[Site, Tap] = {site: self._tap(site) for site in tappable}
        with open_taps(self.model, taps, base=differentiable(self.model)), overheard(self.model, ears):
            yield

    def _learn(self, outputs: Any, batch: Mapping[str, Any]) -> None:
        """The slopes of the loss by gates and weights, and what the signals make of them."""
        goal = self.objective(self.model, outputs, batch)
        weights = goal.weights.to(torch.float32)
        if not float(weights.sum()):
            return  # nothing is predicted in this batch, so it has no loss
        loss = checked(goal.loss(outputs), self._number, sloped=True)
        weights = weights.to(loss.device)
        sites, names = list(self._gates), list(self._wanted)
        leaves = [*self._gates.values(), *self._wanted.values()]
        # The sum over predictions, not the mean: slopes that small would be lost in half precision.
        slopes = torch.autograd.grad(loss * weights.sum(), leaves, allow_unused=True) if leaves else ()
        for site, slope in zip(sites, slopes, strict=False):
            if slope is not None:
                self._read_slopes(site, slope.float(), weights.to(slope.device))
        for name, slope in zip(names, slopes[len(sites) :], strict=True):
            if slope is not None:
                self.tally.gradients[name] = slope.float() + self.tally.gradients.get(name, 0)
        self.tally.predictions += float(weights.sum())

    def _read_slopes(self, site: Site, slopes: Tensor, weights: Tensor) -> None:
        if not bool(torch.isfinite(slopes).all()):
            raise NotMeasurable(
                f"Layer {site.layer} ({site.name}), batch {self._number}: the slopes of the loss are not finite; "
                "measure in bfloat16 or float32, or on shorter batches."
            )
        counted = weights > 0
        own, weights = slopes[counted] / weights[counted].unsqueeze(1), weights[counted].unsqueeze(1)
        asleep = torch.tensor([HeadId(site.layer, number) in self._dormant for number in site.numbers], device=own.device)
        for each in self._of_gates:
            values = (each.read(own) * weights).sum(0)
            if each.needs & Needs.DORMANT:
                if not bool(asleep.any()):
                    self.tally.refuse(site, "none of its heads is dormant in the bank that was given", Needs.DORMANT)
                    continue
                values = values.masked_fill(~asleep, torch.nan)
            self.tally.add(each, site, values, weights.sum())

    def _tap(self, site: Site) -> Tap:
        def tap(call: Call) -> Tensor | None:
            if torch.is_grad_enabled() != self.learns:
                return None  # a pass within the pass, of a model that iterates
            output = call.output.detach()
            with torch.no_grad():
                self._note_extremes(site, output, call.query, call.key)
                if site.seen == "interface" and (self._of_attention or self._of_output):
                    self._ear(site)(call)
                for each in self._of_output:
                    self._read_output(each, site, output)
            return self._gated(site, call.output) if self._of_gates else None

        return tap

    def _gated(self, site: Site, output: Tensor) -> Tensor | None:
        closed = [HeadId(site.layer, number) in self._dormant for number in site.numbers]
        if len(output) % self._samples:
            self.tally.refuse(
                site,
                f"it attends to {self._samples} samples in {len(output)} rows, so a sample has no gate of its own; "
                "measure one sample at a time",
                Needs.GATES | Needs.DORMANT,
            )
            return None
        if site not in self._gates:
            gates = torch.ones(self._samples, site.heads, device=output.device)
            gates[:, torch.tensor(closed)] = 0
            self._gates[site] = gates.requires_grad_()
        return Gated.apply(output, self._gates[site], any(closed))  # type: ignore[no-any-return]

    def _ear(self, site: Site) -> Ear:
        @torch.no_grad()
        def ear(heard: Call | Scored) -> None:
            attended = self._hearing.attended(site, heard)
            if attended is None:
                self.tally.refuse(
                    site, "its output is not softmax(q·k) v under any reading of what it attends with", FROM_ATTENTION
                )
            else:
                self._read_attention(site, attended)

        return ear

    def _read_attention(self, site: Site, attended: Attended) -> None:
        if not self._of_attention:
            return
        wishes = {"distances": bool(self._needs & Needs.DISTANCE), "exactly": bool(self._needs & Needs.EVERY_WEIGHT)}
        attended = replace(attended, **wishes)
        for each in self._of_attention:
            self._add_real(each, site, each.read(attended), attended.visible.real)
        self.tally.paths.setdefault(site.layer, attended.path)

    def _read_output(self, each: Signal, site: Site, output: Tensor) -> None:
        output = output.reshape(len(output), -1, *output.shape[-2:])
        real = self._hearing.real(site, output)
        if real is None:
            real = torch.ones(output.shape[:2], dtype=torch.bool, device=output.device)
        heard = Heard(output, real)
        if each.summed:
            self.tally.add(each, site, each.read(heard), heard.real.sum())
        else:
            self._add_real(each, site, each.read(heard), heard.real)

    def _add_real(self, each: Signal, site: Site, values: Tensor, real: Tensor) -> None:
        """Add up values (…, rows, heads, queries) over real queries (rows, queries)."""
        real = real.expand(values.shape[-3], -1)
        kept = torch.where(real.unsqueeze(1), values, 0)
        self.tally.add(each, site, kept.sum((-3, -1), dtype=torch.float64), real.sum())

    def _note_extremes(self, site: Site, *tensors: Tensor | None) -> None:
        """Where nan or inf would show: in the output, and in what a kernel may make a silent 0 of."""
        if site not in self._extremes:
            ends = [torch.stack(torch.aminmax(each.detach())).float() for each in tensors if each is not None and each.numel()]
            if ends:
                self._extremes[site] = torch.cat(ends)

    def _require_finite(self) -> None:
        for site, extremes in sorted(self._extremes.items(), key=lambda item: item[0].layer):
            if not bool(torch.isfinite(extremes).all()):
                raise NotMeasurable(
                    f"Layer {site.layer} ({site.name}), batch {self._number}: its attention holds nan or inf; "
                    "check the weights and the batch, or measure in bfloat16 or float32."
                )

    def _weights(self) -> dict[str, nn.Parameter]:
        """Every parameter that a head has a piece of."""
        found: dict[str, nn.Parameter] = {}
        for site in self.anatomy:
            for part in parts_of(self.model, site, 0):
                found[part.parameter] = self.model.get_parameter(part.parameter)
        return found
