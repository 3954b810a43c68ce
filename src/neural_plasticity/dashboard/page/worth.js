// What quality bought: size, speed, and whether a difference of the loss is one.

import { differences } from "./differ.js";
import { harmless, numberOf, told } from "./format.js";
import { counted, empty, fact, missing, panel, sortable } from "./parts.js";
import { chart } from "./plots.js";
import { isDoubtful, speedKind, speedOf, weighedAt } from "./reading.js";
import { h } from "./tree.js";
import { plainName, plainStage } from "./words.js";

// Quality against size, cycle by cycle, with the speed that was measured at the end.
export function bought(state) {
  const points = state.evaluations
    .filter((each) => each.stage !== "pruned" && "perplexity" in each.values)
    .map((each) => ({ ...each, weighed: weighedAt(state, each.cycle ?? 0) }));
  const first = state.operations[0];
  const rows = points.map((each) => ({
    name: plainName(each.name),
    event: each,
    perplexity: numberOf(each.values.perplexity),
    parameters: each.weighed ? numberOf(each.weighed.after.parameters) : numberOf(first?.before.parameters),
  }));
  if (!first || !("parameters" in first.before)) return null;
  const sizeCell = (row) =>
    row.event.weighed ? fact(row.event.weighed, "after.parameters", "count") : fact(first, "before.parameters", "count");
  return chart({
    id: "bought",
    title: "Quality against size",
    drawn: `${rows.length}`,
    say: `${rows.length} stages.`,
    note: speedWords(state),
    table: () => [["stage", "parameters", "perplexity"], rows.map((row) => [row.name, row.parameters, row.perplexity])],
    cells: () => rows.map((row) => [row.name, sizeCell(row), fact(row.event, "values.perplexity")]),
    plot: (ink) => ({
      traces: [
        {
          type: "scatter",
          mode: "markers+lines",
          x: rows.map((row) => row.parameters),
          y: rows.map((row) => row.perplexity),
          text: rows.map((row) => row.name),
          marker: { size: 9, color: ink.lines[0] },
          line: { color: ink.muted, width: 1, dash: "dot" },
        },
      ],
      layout: {
        showlegend: false,
        hovermode: "closest",
        xaxis: { title: { text: "parameters" }, showgrid: true },
        yaxis: { title: { text: "perplexity" } },
      },
    }),
  });
}

function speedWords(state) {
  const found = speedOf(state);
  if (found) {
    const ratio = (name) => `${told(numberOf(found.values[`${name}_ratio`]), "ratio")} as fast`;
    const times = (name) => (isDoubtful(found.values, name) ? `${ratio(name)} (perhaps no faster)` : ratio(name));
    return `measured: reading ${times("prefill")}${"decode_ratio" in found.values ? `, writing ${times("decode")}` : ""}`;
  }
  return {
    masked: "no speed-up: heads are masked, and no weight has left the model",
    nothing: "no head was pruned",
    unmeasured: "the speed is measured at the end, after removal",
  }[speedKind(state)];
}

export function speedTable(state) {
  const found = speedOf(state);
  if (!found)
    return panel(
      "Speed",
      { id: "speed" },
      empty(speedKind(state) === "masked" ? "no speed-up" : "Not measured.", speedWords(state)),
    );
  const rows = [
    ["reading (one pass)", "prefill_ms", "prefill"],
    ["writing (one token)", "decode_ms_per_token", "decode"],
  ].filter(([, , name]) => `${name}_ratio` in found.values);
  const column = (name, label, field, unit) => ({
    name,
    label,
    sorts: false,
    numeric: true,
    cell: (row) => fact(found, `values.${field(row)}`, unit),
  });
  const columns = [
    { name: "what", label: "what", sorts: false, cell: (row) => row[0] },
    column("before", "all heads", (row) => `${row[1]}_before`, "ms"),
    column("after", "final", (row) => `${row[1]}_after`, "ms"),
    column("ratio", "times as fast", (row) => `${row[2]}_ratio`, "ratio"),
    {
      name: "bounds",
      label: "95 %",
      sorts: false,
      numeric: true,
      cell: (row) => [fact(found, `values.${row[2]}_low`), " to ", fact(found, `values.${row[2]}_high`)],
    },
  ];
  return panel(
    "Speed",
    { id: "speed", note: "measured in turns with the same model with all its heads" },
    sortable("measured speed", columns, rows, { rowKey: (row) => row[2] }),
    h(
      "p",
      { class: "note" },
      fact(found, "values.rounds", "count"),
      " rounds, ",
      fact(found, "values.tokens", "count"),
      " tokens, threads: ",
      fact(found, "values.threads", "count"),
    ),
  );
}

export function comparisonTable(state) {
  const rows = state.comparisons.filter((each) => "mean_difference" in each.values);
  if (!rows.length) return null;
  const column = (name, label, unit = "", sign = false) => ({
    name,
    label,
    numeric: true,
    sorts: false,
    cell: (row) => (name in row.values ? fact(row, `values.${name}`, unit, sign) : missing()),
  });
  const columns = [
    { name: "pair", label: "stages", sorts: false, cell: (row) => `${plainStage(row.before)} → ${plainStage(row.after)}` },
    column("mean_difference", "difference", "nats", true),
    column("low", "from", "", true),
    column("high", "to", "", true),
    column("worse_share", "worse", "share"),
    column("documents", "documents", "count"),
  ];
  return panel(
    "Is it a loss?",
    { id: "comparisons", note: harmless(rows[0].method, 200) },
    sortable("paired differences of the loss with their 95 % intervals", columns, rows, { rowKey: (row) => row.seq }),
    h("p", { class: "note hidden" }, counted(rows.length, "comparisons")),
  );
}
