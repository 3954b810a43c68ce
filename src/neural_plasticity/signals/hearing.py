"""From what taps and ears give to what signals read: calls of attention, and which of their queries are real."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neural_plasticity.anatomy.overhear import Scored
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import Call
from neural_plasticity.signals.attended import Attended
from neural_plasticity.signals.objectives import real_tokens
from neural_plasticity.signals.reading import Readings, is_cross
from neural_plasticity.signals.visible import Visible

MASKED = 1e3  # a score this far below the largest is hidden by a mask that was added to it


class Hearing:
    """Understands one batch after the other; what it learnt of how modules attend stays."""

    def __init__(self) -> None:
        self._readings = Readings()
        self._named: dict[str, Tensor] = {}
        self._real: dict[Site, Tensor] = {}

    def begin(self, model: nn.Module, batch: Mapping[str, Any]) -> None:
        """Turn to another batch, and let go of the masks of the last."""
        self._named = real_tokens(model, batch)
        self._real.clear()
        self._readings.forget()

    def attended(self, site: Site, heard: Call | Scored) -> Attended | None:
        """What was attended with; None where no reading of it gives what the module gave."""
        if isinstance(heard, Call):
            attended = self._readings.attended(site, heard, self.known(site, heard.output))
        else:
            attended = self._of_scores(site, heard.scores.detach())
        if attended is not None:
            rows = len(attended.scores if attended.scores is not None else heard.output)  # type: ignore[union-attr]
            self._real[site] = attended.visible.real.expand(rows, -1)
        return attended

    def real(self, site: Site, output: Tensor) -> Tensor | None:
        """Which queries of an output (rows, queries, heads, width) are real, where that is known."""
        heard = self._real.get(site)
        return heard if heard is not None and heard.shape == output.shape[:2] else self.known(site, output)

    def known(self, site: Site, output: Tensor) -> Tensor | None:
        """Which of a site's queries are real by what is known before it attends, (rows, queries).

        Of cross attention the self-attention before it says so; else the batch, where it says it of such a shape.
        """
        earlier = [real for other, real in self._real.items() if other.kind != "cross" and real.shape == output.shape[:2]]
        if site.kind == "cross" and earlier:
            return earlier[-1]
        real = self._named.get("encoder" if site.kind == "encoder" else "decoder")
        return real if real is not None and real.shape == output.shape[:2] else None

    def _of_scores(self, site: Site, scores: Tensor) -> Attended:
        queries, keys = scores.shape[-2:]
        seen = scores > scores.amax(-1, keepdim=True) - MASKED
        known = self.known(site, scores.transpose(1, 2))
        visible = Visible(seen, False, queries, keys, scores.device, is_cross(site, queries, keys), known)
        return Attended(site, visible, scores=scores)
