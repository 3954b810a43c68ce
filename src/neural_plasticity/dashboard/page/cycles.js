// All cycles at once: what each did, the heads after each, and the life of every head in one picture.

import { inkOf, markOf } from "./colour.js";
import { ASLEEP } from "./fold.js";
import { numberOf } from "./format.js";
import { statesSeen, thumbnail } from "./grid.js";
import { counted, csvButton, empty, fact, headLink, missing, panel, sortable, stateLegend } from "./parts.js";
import { addressOf, goTo, placeNow } from "./place.js";
import { chart, themeNow } from "./plots.js";
import { awakeAt, headsOf, lastCycle, lifeAt, stagesAround, weighedAt } from "./reading.js";
import { h } from "./tree.js";

const MOST_LIVES = 60; // rows of the table behind the picture of all lives
const MARGIN = 30; // pixels for the names of heads and the numbers of cycles

export function allCycles(state, cycle) {
  const last = lastCycle(state);
  if (!last)
    return empty(
      state.items ? "No cycle has begun." : "Nothing is recorded yet.",
      "Each cycle measures, cuts and recovers; what each did stands here in a row.",
    );
  const rows = Array.from({ length: last }, (_, place) => rowOf(state, place + 1));
  return [cycleTable(state, rows, cycle), cycleChart(rows), smallMaps(state, rows, cycle), livesPicture(state, last)];
}

function rowOf(state, cycle) {
  const of = (prune) =>
    state.operations
      .filter((each) => each.cycle === cycle && (each.action === "prune") === prune)
      .reduce((sum, each) => sum + each.heads.length, 0);
  return {
    cycle,
    pruned: of(true),
    revived: of(false),
    awake: awakeAt(state, cycle),
    weighed: weighedAt(state, cycle),
    stages: stagesAround(state, cycle),
  };
}

function cycleTable(state, rows, cycle) {
  const heads = headsOf(state).length;
  const count = (name, label, rule) => ({
    name,
    label,
    numeric: true,
    value: (row) => row[name],
    cell: (row) => counted(row[name], rule, "count", row.cycle),
  });
  const perplexity = (name, label) => ({
    name,
    label,
    numeric: true,
    value: (row) => numberOf(row.stages[name]?.values.perplexity),
    cell: (row) => (row.stages[name] ? fact(row.stages[name], "values.perplexity") : missing("not yet")),
  });
  const columns = [
    {
      name: "cycle",
      label: "cycle",
      numeric: true,
      value: (row) => row.cycle,
      cell: (row) =>
        h(
          "a",
          { href: addressOf({ view: "pruning", cycle: String(row.cycle) }), "aria-label": `decisions of cycle ${row.cycle}` },
          row.cycle,
        ),
    },
    count("pruned", "pruned", "pruned-in"),
    count("revived", "revived", "revived-in"),
    count("awake", "awake", "awake-at"),
    {
      name: "sparsity",
      label: "sparsity",
      numeric: true,
      value: (row) => 1 - row.awake / heads,
      cell: (row) => counted(1 - row.awake / heads, "sparsity-at", "share", row.cycle),
    },
    {
      name: "parameters",
      label: "parameters",
      numeric: true,
      value: (row) => numberOf(row.weighed?.after.parameters),
      cell: (row) => fact(row.weighed, "after.parameters", "count"),
    },
    perplexity("start", "perplexity before"),
    perplexity("pruned", "after the cut"),
    perplexity("tuned", "recovered"),
  ];
  const tools = csvButton("cycles", () => [
    ["cycle", "pruned", "revived", "awake", "parameters", "perplexity before", "perplexity pruned", "perplexity recovered"],
    rows.map((row) => [
      row.cycle,
      row.pruned,
      row.revived,
      row.awake,
      numberOf(row.weighed?.after.parameters),
      ...["start", "pruned", "tuned"].map((name) => numberOf(row.stages[name]?.values.perplexity)),
    ]),
  ]);
  return panel(
    "Cycle by cycle",
    { id: "cycles", wide: true, tools },
    sortable("what each cycle did", columns, rows, {
      sort: placeNow().sort,
      rowKey: (row) => row.cycle,
      chosen: (row) => row.cycle === cycle,
    }),
  );
}

function cycleChart(rows) {
  const value = (row, name) => numberOf(row.stages[name]?.values.perplexity);
  return chart({
    id: "over-cycles",
    title: "Perplexity and heads over cycles",
    wide: true,
    drawn: `${rows.length} ${rows.map((row) => `${row.awake} ${value(row, "tuned")} ${value(row, "pruned")}`)}`,
    say: rows.map((row) => `cycle ${row.cycle}: ${row.awake} heads awake`).join("; "),
    table: () => [
      ["cycle", "awake", "after the cut", "recovered"],
      rows.map((row) => [row.cycle, row.awake, value(row, "pruned"), value(row, "tuned")]),
    ],
    plot: (ink) => ({
      traces: [
        {
          type: "scatter",
          mode: "lines+markers",
          name: "after the cut",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => value(row, "pruned")),
          line: { color: ink.lines[1] },
          marker: { symbol: "x", size: 8 },
        },
        {
          type: "scatter",
          mode: "lines+markers",
          name: "recovered",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => value(row, "tuned")),
          line: { color: ink.lines[0] },
          marker: { size: 8 },
        },
        {
          type: "scatter",
          mode: "lines",
          name: "heads awake",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => row.awake),
          yaxis: "y2",
          line: { color: ink.muted, dash: "dot", shape: "hv" },
        },
      ],
      layout: {
        xaxis: { title: { text: "cycle" }, dtick: rows.length > 12 ? undefined : 1 },
        yaxis: { title: { text: "perplexity" } },
        yaxis2: { title: { text: "heads" }, overlaying: "y", side: "right", showgrid: false, rangemode: "tozero" },
      },
    }),
  });
}

function smallMaps(state, rows, cycle) {
  const shown =
    rows.length > 60 ? rows.filter((row) => row.cycle % Math.ceil(rows.length / 60) === 0 || row.cycle === rows.length) : rows;
  const pixel = Math.max(4, Math.min(12, Math.floor(140 / Math.max(1, ...state.layers))));
  return panel(
    "Heads after each cycle",
    { id: "small-maps", wide: true },
    h(
      "ul",
      { class: "signals" },
      shown.map((row) =>
        h(
          "li",
          { key: row.cycle },
          h(
            "a",
            {
              class: "signal",
              href: addressOf({ cycle: String(row.cycle) }),
              "aria-current": row.cycle === cycle ? "true" : null,
              "aria-label": `cycle ${row.cycle}: ${row.awake} heads awake`,
            },
            thumbnail({ state, cycle: row.cycle, pixel, drawn: `${row.cycle} ${state.operations.length} ${themeNow()}` }),
            h("span", null, `cycle ${row.cycle}`),
          ),
        ),
      ),
    ),
    stateLegend(statesSeen(state)),
  );
}

// A row for each head that ever changed, a column for each cycle.
function livesPicture(state, last) {
  const changed = headsOf(state).filter((head) => state.lives.has(head.join(".")));
  if (!changed.length) return null;
  const high = Math.max(6, Math.min(16, Math.floor(1200 / changed.length)));
  const wide = Math.max(5, Math.min(64, Math.floor(860 / (last + 1))));
  const shown = changed.slice(0, MOST_LIVES);
  const picture = h("canvas", {
    class: "lives",
    width: MARGIN + wide * (last + 1),
    height: MARGIN + high * changed.length,
    role: "img",
    drawn: `${last} ${state.operations.length} ${themeNow()}`,
    "aria-label": "the state of every head that changed, over all cycles; the table below says the same",
    draw: (canvas) => drawLives(canvas, state, changed, last, wide, high),
    on: { click: (event) => pressedLife(event, changed, wide, high) },
  });
  return panel(
    "All lives",
    {
      id: "lives",
      wide: true,
      note: `${changed.length} of ${headsOf(state).length} heads changed; a row is a head, a column is a cycle, a thin line is a head asleep`,
    },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "picture of all lives" }, picture),
    h(
      "details",
      { class: "behind" },
      h("summary", null, "table"),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "lives of heads" },
        h(
          "table",
          null,
          h("caption", { class: "hidden" }, "lives of the heads that changed"),
          h(
            "thead",
            null,
            h(
              "tr",
              null,
              h("th", { scope: "col" }, "head"),
              h("th", { scope: "col" }, "what became of it"),
              h("th", { scope: "col" }, "now"),
            ),
          ),
          h(
            "tbody",
            null,
            shown.map((head) =>
              h(
                "tr",
                { key: head.join(".") },
                h("th", { scope: "row" }, headLink(head)),
                h(
                  "td",
                  null,
                  state.lives
                    .get(head.join("."))
                    .map((turn) => `${turn.state} in cycle ${turn.cycle}`)
                    .join(", "),
                ),
                h("td", null, lifeAt(state, head, last).state),
              ),
            ),
          ),
        ),
      ),
      changed.length > MOST_LIVES && h("p", { class: "note" }, `the first ${MOST_LIVES}; every head's life opens from any map`),
    ),
  );
}

function pressedLife(event, heads, wide, high) {
  const box = event.target.getBoundingClientRect();
  const scale = event.target.width / box.width;
  const head = heads[Math.floor(((event.clientY - box.top) * scale - MARGIN) / high)];
  const cycle = Math.floor(((event.clientX - box.left) * scale - MARGIN) / wide);
  if (head) goTo({ head: head.join("."), ...(cycle >= 0 ? { cycle: String(cycle) } : {}) });
}

function drawLives(canvas, state, heads, last, wide, high) {
  const ink = canvas.getContext("2d");
  ink.clearRect(0, 0, canvas.width, canvas.height);
  ink.font = "11px sans-serif";
  ink.fillStyle = inkOf("--muted");
  for (let cycle = 0; cycle <= last; cycle += Math.ceil(24 / wide))
    ink.fillText(cycle ? String(cycle) : "0", MARGIN + cycle * wide + 2, MARGIN - 8);
  heads.forEach(
    (head, row) =>
      row % Math.ceil(12 / high) === 0 && ink.fillText(head.join("."), 0, MARGIN + row * high + high * 0.75, MARGIN - 4),
  );
  heads.forEach((head, row) => {
    for (let cycle = 0; cycle <= last; cycle += 1) {
      const { state: word } = lifeAt(state, head, cycle);
      const thin = ASLEEP.has(word) ? 0.3 : 0.8; // a sleeping head is a thin line: the picture reads without colours
      const box = [MARGIN + cycle * wide, MARGIN + row * high + (high * (1 - thin)) / 2, wide - 1, Math.max(1, high * thin)];
      ink.fillStyle = markOf(word).colour;
      ink.fillRect(...box);
      ink.strokeStyle = markOf(word).edge;
      ink.lineWidth = 0.5;
      ink.strokeRect(...box);
    }
  });
}
