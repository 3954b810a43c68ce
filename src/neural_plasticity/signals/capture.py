"""The one pass that all signals share: taps at every site, gates on every head, a loss and its slopes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.bank import Bank, parts_of
from neural_plasticity.anatomy.overhear import Scored, overheard
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import Call, Tap, open_taps
from neural_plasticity.anatomy.trace import differentiable
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.heads import HeadId
from neural_plasticity.signals.attended import Attended
from neural_plasticity.signals.base import FROM_ATTENTION, FROM_OUTPUT, Needs, Signal
from neural_plasticity.signals.gates import Gated
from neural_plasticity.signals.objectives import Objective, real_tokens, samples_of
from neural_plasticity.signals.outputs import Heard
from neural_plasticity.signals.reading import Readings, is_cross, with_wishes
from neural_plasticity.signals.tally import Tally
from neural_plasticity.signals.visible import Visible


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
        self._readings = Readings()
        self._gates: dict[Site, Tensor] = {}
        self._real: dict[Site, Tensor] = {}
        self._extremes: dict[Site, Tensor] = {}
        self._named: dict[str, Tensor] = {}
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
        self._samples, self._number, self._named = samples_of(self.model, batch), number, real_tokens(self.model, batch)
        for kept in (self._gates, self._real, self._extremes):
            kept.clear()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._wanted)
        with torch.set_grad_enabled(self.learns), self._attached():
            outputs = self.model(**batch)
            self._require_finite()
            if self.learns:
                self._learn(outputs, batch)
        self._readings.forget()
        self.tally.samples += self._samples

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Attached to the model, until the block ends."""
        tappable = [site for site in self.anatomy if site.seen == "interface" or site.of_role("o")]
        for site in set(self.anatomy) - set(tappable):
            self.tally.refuse(site, f"it attends by its own code and its output cannot be tapped: {site.reason}", FROM_OUTPUT)
        ears = {site: self._ear(site) for site in self.anatomy if site.seen == "softmax" and self._of_attention}
        for site in ears:
            self.tally.refuse(site, f"its attention lies in a layout of its own ({site.reason or 'no softmax by head'})", FROM_ATTENTION)
        taps: dict[Site, Tap] = {site: self._tap(site) for site in tappable}
        with open_taps(self.model, taps, base=differentiable(self.model)), overheard(self.model, ears):
            yield

    def _learn(self, outputs: Any, batch: Mapping[str, Any]) -> None:
        """The slopes of the loss by gates and weights, and what the signals make of them."""
        goal = self.objective(self.model, outputs, batch)
        loss = goal.loss(outputs)
        if loss.dim() or not bool(torch.isfinite(loss)):
            what = f"a tensor of shape {tuple(loss.shape)}" if loss.dim() else f"{float(loss)}"
            raise NotMeasurable(f"Batch {self._number}: the loss is {what}, where one finite number is needed.")
        weights = goal.weights.to(loss.device, torch.float32)
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
        for each in self._of_gates:
            self.tally.add(each, site, (each.read(own) * weights).sum(0), weights.sum())

    def _tap(self, site: Site) -> Tap:
        def tap(call: Call) -> Tensor | None:
            if torch.is_grad_enabled() != self.learns:
                return None  # a pass within the pass, of a model that iterates
            output = call.output.detach()
            with torch.no_grad():
                self._note_extremes(site, output)
                if site.seen == "interface" and (self._of_attention or self._of_output):
                    self._hear(site, call)
                for each in self._of_output:
                    self._read_output(each, site, output)
            return self._gated(site, call.output) if self._of_gates else None

        return tap

    def _gated(self, site: Site, output: Tensor) -> Tensor | None:
        closed = [HeadId(site.layer, head) in self._dormant for head in range(site.heads)]
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

    def _hear(self, site: Site, call: Call) -> None:
        attended = self._readings.attended(site, call, self._known(site, call.output))
        if attended is None:
            self.tally.refuse(site, "its output is not softmax(q·k) v under any reading of what it attends with", FROM_ATTENTION)
        else:
            self._read_attention(site, attended)

    def _ear(self, site: Site) -> Any:
        def ear(heard: Call | Scored) -> None:
            with torch.no_grad():
                if isinstance(heard, Call):
                    self._hear(site, heard)
                    return
                scores = heard.scores.detach()
                seen = scores > scores.amax(-1, keepdim=True) - 1e3  # a mask of its own, as far below as masks are
                known = self._known(site, scores.transpose(1, 2))
                visible = Visible(seen, False, *scores.shape[-2:], scores.device, is_cross(site, *scores.shape[-2:]), known)
                self._read_attention(site, Attended(site, visible, scores=scores))

        return ear

    def _known(self, site: Site, output: Tensor) -> Tensor | None:
        """Which of a site's queries are known to be real, (rows, queries).

        Of cross attention the self-attention before it says so; else the batch, where it says it of such a shape.
        """
        earlier = [real for other, real in self._real.items() if other.kind != "cross" and real.shape == output.shape[:2]]
        if site.kind == "cross" and earlier:
            return earlier[-1]
        real = self._named.get("encoder" if site.kind == "encoder" else "decoder")
        return real if real is not None and real.shape == output.shape[:2] else None

    def _read_attention(self, site: Site, attended: Attended) -> None:
        if not self._of_attention:
            self._real[site] = attended.visible.real
            return
        wishes = {"distances": bool(self._needs & Needs.DISTANCE), "exactly": bool(self._needs & Needs.EVERY_WEIGHT)}
        attended = with_wishes(attended, **wishes)
        real = attended.visible.real
        real = real.expand(len(attended.lse), -1)
        self._real[site] = real
        for each in self._of_attention:
            self._add_real(each, site, each.read(attended), real)
        self.tally.paths.setdefault(site.layer, attended.path)

    def _read_output(self, each: Signal, site: Site, output: Tensor) -> None:
        output = output.reshape(len(output), -1, *output.shape[-2:])
        real = self._real.get(site)
        if real is None or real.shape[-1] != output.shape[1]:
            real = self._known(site, output)
        if real is None:
            real = torch.ones(output.shape[:2], dtype=torch.bool, device=output.device)
        heard = Heard(output, real.expand(len(output), -1))
        if each.summed:
            self.tally.add(each, site, each.read(heard), heard.real.sum())
        else:
            self._add_real(each, site, each.read(heard), heard.real)

    def _add_real(self, each: Signal, site: Site, values: Tensor, real: Tensor) -> None:
        """Add up values (…, rows, heads, queries) over real queries (rows, queries)."""
        kept = torch.where(real.unsqueeze(1), values, 0)
        self.tally.add(each, site, kept.sum((-3, -1), dtype=torch.float64), real.sum())

    def _note_extremes(self, site: Site, output: Tensor) -> None:
        if site not in self._extremes and output.numel():
            self._extremes[site] = torch.stack(torch.aminmax(output)).float()

    def _require_finite(self) -> None:
        for site, extremes in sorted(self._extremes.items(), key=lambda item: item[0].layer):
            if not bool(torch.isfinite(extremes).all()):
                raise NotMeasurable(
                    f"Layer {site.layer} ({site.name}), batch {self._number}: the attention output holds nan or inf; "
                    "check the weights and the batch, or measure in bfloat16 or float32."
                )

    def _weights(self) -> dict[str, nn.Parameter]:
        """Every parameter that a head has a piece of."""
        found: dict[str, nn.Parameter] = {}
        for site in self.anatomy:
            for part in parts_of(self.model, site, 0):
                found[part.parameter] = self.model.get_parameter(part.parameter)
        return found
