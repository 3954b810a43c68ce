// At what rate each head learns: a map where heads have rates of their own, a line where all learn alike.

import { at } from "./arrays.js";
import { colourAt, cssOf, shareOf } from "./colour.js";
import { told } from "./format.js";
import { fieldOf, headMap, mapRows, statesSeen } from "./grid.js";
import { csvButton, numberFrom, panel, stateLegend } from "./parts.js";
import { h } from "./tree.js";

const FEW = 6; // different rates that are named one by one
const SIGNAL = "rates"; // as the record calls the array

// The rates of one course, as the recovery shows them.
export function ratesPanel(state, course, cycle) {
  const usual = usualRate(state);
  if (!course.rates) return panel("Learning rate by head", { id: "rates" }, h("p", null, alike(course, usual)));
  const measured = measuredRates(course);
  const range = ends(course.rates);
  const [columns, rows] = mapRows(state, cycle, measured, [SIGNAL]);
  return panel(
    "Learning rate by head",
    {
      id: "rates",
      note: `as multiples of the run's learning rate${usual === null ? "" : `, ${told(usual)} at its peak`}`,
      tools: csvButton("learning rates", () => [columns, rows]),
    },
    headMap({
      id: "rates",
      label: "learning rate by head",
      state,
      cycle,
      measured,
      signal: SIGNAL,
      range,
      says: (value) => (Number.isNaN(value) ? "not learning" : `learning rate ${rateWord(value, usual)}`),
    }),
    wordedRates(course.rates, range, usual),
    stateLegend(statesSeen(state)),
  );
}

// The rates of one head over the cycles.
export function ratesOfHead(state, head) {
  const usual = usualRate(state);
  const courses = state.courses.filter((course) => course.cycle !== null);
  if (!courses.length) return null;
  return h(
    "section",
    { key: "rates" },
    h("h3", null, "Learning rate"),
    h(
      "ul",
      { class: "rates", tabindex: "0", "aria-label": "learning rate of this head by cycle" },
      courses.map((course) => h("li", { key: course.seq }, `cycle ${course.cycle}: `, rateOf(course, head, usual))),
    ),
  );
}

function rateOf(course, head, usual) {
  if (course.unread) return "cannot be read";
  if (!course.rates) return `${usual === null ? "" : `${told(usual)}, `}as all heads`;
  const value = at(course.rates, ...head);
  if (Number.isNaN(value)) return "not learning: it is not in the model";
  const times = numberFrom(value, course.seq, fieldOf(SIGNAL, ...head), "ratio");
  return usual === null ? [times, " the run's rate"] : [`${told(value * usual)}, `, times, " the run's rate"];
}

function alike(course, usual) {
  if (course.unread) return "The rates of this cycle cannot be read; the notices say why.";
  return `All heads learned at the same rate${usual === null ? "" : `: ${told(usual)} at its peak`}.`;
}

function rateWord(value, usual) {
  return usual === null ? `${told(value, "ratio")} the run's` : `${told(value * usual)}, ${told(value, "ratio")} the run's`;
}

// The settings name the rate of the whole run; where they do not, only multiples of it are known.
function usualRate(state) {
  const rate = state.described.settings?.learning_rate;
  return typeof rate === "number" ? rate : null;
}

function measuredRates(course) {
  return { seq: course.seq, grids: { [SIGNAL]: course.rates } };
}

function ends({ values }) {
  const known = [...values].filter(Number.isFinite);
  return known.length ? [Math.min(...known), Math.max(...known)] : null;
}

// What the colours say, as words where there are few.
function wordedRates(rates, range, usual) {
  const counts = new Map();
  for (const value of rates.values) if (Number.isFinite(value)) counts.set(value, (counts.get(value) ?? 0) + 1);
  const different = [...counts].sort(([one], [other]) => one - other);
  const shown = different.length > FEW ? [different[0], different.at(-1)] : different;
  return h(
    "ul",
    { class: "legend", "aria-label": "learning rates" },
    shown.map(([value, count]) =>
      h(
        "li",
        { key: value },
        h("i", { class: "swatch", style: { background: cssOf(colourAt(shareOf(value, range))) } }),
        `${told(value, "ratio")}${usual === null ? "" : ` is ${told(value * usual)}`}`,
        h("small", null, count === 1 ? "1 head" : `${told(count, "count")} heads`),
      ),
    ),
    different.length > FEW && h("li", { key: "more" }, h("small", null, `the ends of ${different.length} different rates`)),
  );
}
