// Regrowth and growth: which heads came back or were added, and what waking them promised.

import { MARKS } from "./colour.js";
import { ASLEEP } from "./fold.js";
import { headMap, scaleBar, statesSeen } from "./grid.js";
import { csvButton, empty, fact, headLink, panel, sortable, stateLegend } from "./parts.js";
import { placeNow } from "./place.js";
import { chart } from "./plots.js";
import { awakeAt, gridOf, lastCycle, lifeAt, rangeOf } from "./reading.js";
import { h } from "./tree.js";

export function growth(state, cycle) {
  const wakings = state.decisions.filter((each) => each.action !== "prune");
  const woken = state.operations.filter((each) => each.action !== "prune");
  const shown = [comings(state), wakeMap(state, cycle), wakings.length ? wakingTable(state, wakings) : null, fates(state, woken)];
  if (wakings.length || woken.length) return shown;
  const why =
    state.described.settings && !state.described.settings.exchange
      ? "The settings exchange no heads (exchange is 0), so none comes back in this run."
      : "Heads that wake or grow stand here, with the slope that promised it and what became of them.";
  return [empty("No head has come back or grown.", why), state.operations.length ? comings(state) : null];
}

function comings(state) {
  const cycles = Array.from({ length: lastCycle(state) + 1 }, (_, cycle) => cycle);
  const count = (cycle, asked) =>
    state.operations
      .filter((each) => each.cycle === cycle && (each.action === "prune") === asked)
      .reduce((sum, each) => sum + each.heads.length, 0);
  const rows = cycles.map((cycle) => ({
    cycle,
    gone: count(cycle, true),
    come: count(cycle, false),
    awake: awakeAt(state, cycle),
  }));
  return chart({
    id: "comings",
    title: "Heads that went and came",
    wide: true,
    drawn: `${rows.length} ${state.operations.length}`,
    say: rows.map((row) => `cycle ${row.cycle}: ${row.gone} went, ${row.come} came, ${row.awake} awake`).join("; "),
    table: () => [["cycle", "went", "came", "awake"], rows.map((row) => [row.cycle, row.gone, row.come, row.awake])],
    plot: (ink) => ({
      traces: [
        {
          type: "bar",
          name: "went",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => -row.gone),
          marker: { color: MARKS.dormant.colour },
        },
        {
          type: "bar",
          name: "came",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => row.come),
          marker: { color: MARKS.revived.colour },
        },
        {
          type: "scatter",
          mode: "lines+markers",
          name: "awake",
          x: rows.map((row) => row.cycle),
          y: rows.map((row) => row.awake),
          line: { color: ink.lines[0], width: 2 },
        },
      ],
      layout: {
        barmode: "relative",
        xaxis: { title: { text: "cycle" }, dtick: rows.length > 12 ? undefined : 1 },
        yaxis: { title: { text: "heads" } },
      },
    }),
  });
}

function wakeMap(state, cycle) {
  const measured = gridOf(state, cycle, "wake");
  const range = rangeOf(state, "wake");
  if (!range) return null;
  return panel(
    `What waking would do`,
    {
      id: "wake",
      note: measured
        ? "how the loss would change as a sleeping head wakes; the lowest promise most"
        : `not measured in cycle ${cycle}: move the slider`,
    },
    headMap({
      id: "wake",
      label: "slope of the loss as each sleeping head wakes",
      state,
      cycle,
      measured,
      signal: "wake",
      range,
      unit: "nats",
    }),
    scaleBar(range, "wake", "nats"),
    stateLegend(statesSeen(state)),
  );
}

function wakingTable(state, wakings) {
  const { sort, head } = placeNow();
  const number = (name, label) => ({ name, label, numeric: true, value: (row) => row[name], cell: (row) => fact(row, name) });
  const columns = [
    {
      name: "head",
      label: "head",
      value: (row) => row.head[0] * 1e4 + row.head[1],
      cell: (row) => headLink(row.head, lifeAt(state, row.head, row.cycle).state),
    },
    { name: "cycle", label: "cycle", numeric: true, value: (row) => row.cycle, cell: (row) => row.cycle },
    { name: "action", label: "action", value: (row) => row.action, cell: (row) => row.action },
    number("rank", "rank"),
    number("score", "score"),
    number("threshold", "threshold"),
    { name: "reason", label: "reason", class: "reason", value: (row) => row.reason, cell: (row) => h("bdi", null, row.reason) },
  ];
  const tools = csvButton("wakings", () => [
    ["seq", "cycle", "layer", "head", "action", "score", "rank", "threshold", "reason"],
    wakings.map((each) => [each.seq, each.cycle, ...each.head, each.action, each.score, each.rank, each.threshold, each.reason]),
  ]);
  return panel(
    "Why they came back",
    { id: "wakings", wide: true, tools },
    sortable("wakings, each with its reason", columns, wakings, {
      sort,
      rowKey: (row) => row.seq,
      chosen: (row) => row.head.join(".") === head,
    }),
  );
}

function fates(state, woken) {
  const heads = woken.flatMap((each) => each.heads.map((head) => ({ head, cycle: each.cycle, seq: each.seq })));
  if (!heads.length) return null;
  const now = (row) => lifeAt(state, row.head, Infinity).state;
  const asleep = heads.filter((row) => ASLEEP.has(now(row))).length;
  return panel(
    "What became of them",
    { id: "fates", note: `${heads.length - asleep} of ${heads.length} are awake now` },
    h(
      "ul",
      { class: "chips" },
      heads.map((row) =>
        h("li", { key: `${row.seq} ${row.head}` }, headLink(row.head, now(row)), ` came in cycle ${row.cycle}, ${now(row)} now`),
      ),
    ),
  );
}
