// Pruning: what was decided, why, and what the model weighs before and after.

import { filterBox } from "./analysis.js";
import { MARKS } from "./colour.js";
import { ASLEEP } from "./fold.js";
import { told } from "./format.js";
import { headMap, mapRows, statesSeen } from "./grid.js";
import { button, choice, counted, csvButton, derived, empty, fact, headLink, panel, sortable, stateLegend } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { chart } from "./plots.js";
import { lifeAt, speedKind } from "./reading.js";
import { h } from "./tree.js";
import { plainName, unitOfSize } from "./words.js";

let rowsShown = 200;

export function pruning(state, cycle) {
  if (!state.decisions.length && !state.operations.length)
    return empty(
      state.items ? "Nothing has been decided yet." : "Nothing is recorded yet.",
      "Each decision stands here with its score, its rank, the threshold and the reason, and what it does to the model.",
    );
  return [decisionTable(state, cycle), beforeAndAfter(state, cycle), sizes(state, cycle), layerChart(state, cycle)];
}

// Decisions that the filter, the kind of action and the cycle leave.
function decisionsShown(state, cycle) {
  const { filter, action, cycle: asked } = placeNow();
  const wanted = filter.toLowerCase();
  return state.decisions.filter(
    (each) =>
      (!action || each.action === action) &&
      (asked === "" || each.cycle === cycle) &&
      (!wanted || `${each.head.join(".")} ${each.action} ${each.reason} ${each.strategy}`.toLowerCase().includes(wanted)),
  );
}

function decisionTable(state, cycle) {
  const { sort, action, cycle: asked, head } = placeNow();
  const rows = decisionsShown(state, cycle);
  const number = (name, label) => ({ name, label, numeric: true, value: (row) => row[name], cell: (row) => fact(row, name) });
  const columns = [
    {
      name: "head",
      label: "head",
      value: (row) => row.head[0] * 1e4 + row.head[1],
      cell: (row) => headLink(row.head, lifeAt(state, row.head, row.cycle).state),
    },
    { name: "cycle", label: "cycle", numeric: true, value: (row) => row.cycle, cell: (row) => row.cycle || "–" },
    { name: "action", label: "action", value: (row) => row.action, cell: (row) => row.action },
    number("rank", "rank"),
    number("score", "score"),
    number("threshold", "threshold"),
    { name: "reason", label: "reason", class: "reason", value: (row) => row.reason, cell: (row) => h("bdi", null, row.reason) },
  ];
  const actions = [...new Set(state.decisions.map((each) => each.action))];
  const tools = [
    filterBox("head or reason"),
    actions.length > 1 &&
      choice("action", action, [["", "all"], ...actions.map((name) => [name, name])], (value) =>
        goTo({ action: value }, { small: true }),
      ),
    csvButton("decisions", () => [
      ["seq", "cycle", "layer", "head", "action", "score", "rank", "threshold", "strategy", "reason"],
      rows.map((each) => [
        each.seq,
        each.cycle,
        ...each.head,
        each.action,
        each.score,
        each.rank,
        each.threshold,
        each.strategy,
        each.reason,
      ]),
    ]),
  ];
  const note = h(
    "p",
    { class: "note" },
    counted(rows.length, "decisions-shown"),
    " of ",
    counted(state.decisions.length, "decisions"),
    " decisions",
    asked === ""
      ? ", of all cycles"
      : [`, of cycle ${cycle} · `, button("all cycles", () => goTo({ cycle: "" }, { small: true }), { class: "quiet" })],
  );
  const more = () => {
    rowsShown += 500;
    goTo({ sort: sort || "cycle" }, { small: true });
  };
  return panel(
    "Decisions",
    { id: "decisions", wide: true, tools },
    note,
    rows.length
      ? sortable("decisions, each with its reason", columns, rows, {
          sort,
          shown: rowsShown,
          more,
          rowKey: (row) => row.seq,
          chosen: (row) => row.head.join(".") === head,
        })
      : empty("No decision fits.", "Change the filter, or move to another cycle."),
  );
}

function beforeAndAfter(state, cycle) {
  const before = Math.max(0, cycle - 1);
  const tools = csvButton(`architecture cycle ${cycle}`, () => mapRows(state, cycle, null, []));
  return panel(
    "Architecture before and after",
    {
      id: "architecture",
      wide: true,
      tools,
      note: cycle ? `cycle ${cycle}: which heads are there, before its cut and after it` : "move the slider to a cycle with a cut",
    },
    h(
      "div",
      { class: "pair" },
      h(
        "div",
        null,
        h("h3", null, before ? `after cycle ${before}` : "at the beginning"),
        headMap({ id: "before", label: `heads before the cut of cycle ${cycle}`, state, cycle: before }),
      ),
      h(
        "div",
        null,
        h("h3", null, cycle ? `after cycle ${cycle}` : "at the beginning"),
        headMap({ id: "after", label: `heads after the cut of cycle ${cycle}`, state, cycle }),
      ),
    ),
    stateLegend(statesSeen(state)),
  );
}

// What the model weighed before the first operation of the cycle, and after its last.
function sizes(state, cycle) {
  const operations = state.operations.filter((each) => each.cycle === cycle);
  const first = operations[0];
  const last = operations.at(-1);
  if (!first)
    return panel("Size", { id: "size" }, empty(`Nothing was changed in cycle ${cycle}.`, "Move the slider to another cycle."));
  const names = Object.keys(first.before).filter((name) => first.before[name] || last.after[name]);
  const masked = speedKind(state) === "masked";
  const columns = [
    { name: "what", label: "what", sorts: false, value: (name) => name, cell: plainName },
    {
      name: "before",
      label: "before",
      sorts: false,
      numeric: true,
      cell: (name) => fact(first, `before.${name}`, unitOfSize(name)),
    },
    { name: "after", label: "after", sorts: false, numeric: true, cell: (name) => fact(last, `after.${name}`, unitOfSize(name)) },
    {
      name: "less",
      label: "less by",
      sorts: false,
      numeric: true,
      cell: (name) =>
        derived(
          "reduction",
          [
            [first, `before.${name}`],
            [last, `after.${name}`],
          ],
          "share",
        ),
    },
  ];
  return panel(
    "Size",
    {
      id: "size",
      note: masked
        ? `mode ${first.mode}: heads are masked, so there is no speed-up and the model weighs what it did`
        : `mode ${first.mode}`,
    },
    sortable(`size before and after cycle ${cycle}`, columns, names, { rowKey: (name) => name }),
    last.largest_difference !== null &&
      h(
        "p",
        { class: "note" },
        "proved: the outputs of the model and of the same one with these heads masked differ by at most ",
        fact(last, "largest_difference"),
      ),
  );
}

function layerChart(state, cycle) {
  const asleep = (layer, at) =>
    Array.from({ length: state.layers[layer] }, (_, head) => ASLEEP.has(lifeAt(state, [layer, head], at).state)).filter(Boolean)
      .length;
  const rows = state.layers.map((heads, layer) => ({
    layer,
    heads,
    before: asleep(layer, Math.max(0, cycle - 1)),
    now: asleep(layer, cycle),
  }));
  return chart({
    id: "by-layer",
    title: "Pruned heads by layer",
    drawn: `${cycle} ${state.operations.length}`,
    say: rows.map((row) => `layer ${row.layer}: ${row.now} of ${row.heads}`).join(", "),
    table: () => [
      ["layer", "heads", "pruned before this cycle", "pruned after it"],
      rows.map((row) => [row.layer, row.heads, row.before, row.now]),
    ],
    cells: () => rows.map((row) => [told(row.layer), told(row.heads, "count"), told(row.before, "count"), told(row.now, "count")]),
    plot: (ink) => ({
      traces: [
        {
          type: "bar",
          name: "awake",
          x: rows.map((row) => row.layer),
          y: rows.map((row) => row.heads - row.now),
          marker: { color: MARKS.active.colour, line: { color: ink.ink, width: 1 } },
        },
        {
          type: "bar",
          name: "pruned",
          x: rows.map((row) => row.layer),
          y: rows.map((row) => row.now),
          marker: { color: MARKS.dormant.colour, line: { color: ink.ink, width: 1 } },
        },
      ],
      layout: { barmode: "stack", xaxis: { title: { text: "layer" }, type: "category" }, yaxis: { title: { text: "heads" } } },
    }),
  });
}
