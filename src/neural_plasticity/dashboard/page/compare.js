// Runs side by side: what each was asked, what it cost, what it won.

import { harmless, numberOf, told } from "./format.js";
import { button, counted, csvButton, empty, fact, missing, panel, sortable } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { chart } from "./plots.js";
import { awakeAt, headsOf, lastCycle, speedKind, speedOf, stagesAround, weighedAt } from "./reading.js";
import { h } from "./tree.js";
import { plainName } from "./words.js";

const FEWEST = 2;
const MOST = 50;

// The names of the runs that are compared, by the address; all of an offline report where it names none.
export function comparedNames(names, isOffline) {
  const asked = placeNow()
    .runs.split(",")
    .map((name) => name.replaceAll("%2C", ",").replaceAll("%25", "%"))
    .filter((name) => names.includes(name));
  return (asked.length || !isOffline ? asked : names).slice(0, MOST);
}

// `runs` has, by name, {state, row}: what is folded of it (or null), and what the server's list says.
export function compare(runs, isOffline) {
  const names = [...runs.keys()];
  const chosen = comparedNames(names, isOffline);
  const loaded = chosen.map((name) => ({ name, ...runs.get(name) })).filter((run) => run.state);
  return [
    chooser(runs, chosen),
    ...(chosen.length < FEWEST
      ? [
          empty(
            names.length < FEWEST ? "There is one run only." : "Choose two runs or more.",
            `From ${FEWEST} to ${MOST} runs can be compared; the address keeps the choice.`,
          ),
        ]
      : [
          results(loaded),
          loaded.length < chosen.length &&
            h("p", { class: "note", key: "loading", role: "status" }, `reading ${chosen.length - loaded.length} more…`),
          tradeOff(loaded),
          overCycles(loaded),
          different(loaded),
        ]),
  ];
}

function chooser(runs, chosen) {
  const { filter } = placeNow();
  const wanted = filter.toLowerCase();
  const shown = [...runs].filter(
    ([name, { row }]) =>
      !wanted || `${name} ${row?.strategy ?? ""} ${row?.mode ?? ""} ${row?.state ?? ""}`.toLowerCase().includes(wanted),
  );
  const choose = (names) =>
    goTo(
      {
        runs: names
          .slice(0, MOST)
          .map((name) => name.replaceAll("%", "%25").replaceAll(",", "%2C"))
          .join(","),
      },
      { small: true },
    );
  const toggle = (name) => choose(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
  const tools = [
    h("input", {
      type: "search",
      class: "filter",
      placeholder: "filter: name, strategy or mode",
      "aria-label": "filter runs",
      value: filter,
      on: { input: (event) => goTo({ filter: event.target.value }, { small: true }) },
    }),
    button("all", () => choose(shown.map(([name]) => name)), { class: "quiet" }),
    button("none", () => choose([]), { class: "quiet" }),
  ];
  return panel(
    "Runs",
    { id: "runs", wide: true, tools, note: `${chosen.length} of ${runs.size} chosen` },
    h(
      "ul",
      { class: "runs", tabindex: "0", "aria-label": "runs to choose from" },
      shown.map(([name, { row }]) =>
        h(
          "li",
          { key: name },
          h(
            "label",
            null,
            h("input", {
              type: "checkbox",
              checked: chosen.includes(name),
              disabled: !chosen.includes(name) && chosen.length >= MOST,
              on: { change: () => toggle(name) },
            }),
            h("bdi", null, harmless(name, 80)),
          ),
          h(
            "small",
            null,
            [row?.state, row?.strategy, row?.mode, row?.level !== undefined && `level ${told(numberOf(row.level))}`]
              .filter(Boolean)
              .join(" · "),
          ),
        ),
      ),
    ),
  );
}

const COLUMNS = [
  ["perplexity", "perplexity", (run) => run.state.evaluations.at(-1), "values.perplexity", ""],
  ["baseline", "at baseline", (run) => run.state.evaluations.find((each) => each.stage === "baseline"), "values.perplexity", ""],
  ["difference", "loss difference", judged, "values.mean_difference", ""],
  ["low", "from", judged, "values.low", ""],
  ["high", "to", judged, "values.high", ""],
  ["parameters", "parameters", (run) => weighedAt(run.state, Infinity), "after.parameters", "count"],
];

function judged(run) {
  return run.state.comparisons.find((each) => each.before === "baseline" && "mean_difference" in each.values);
}

function valueOf(run, [, , pick, field]) {
  return numberOf(field.split(".").reduce((held, name) => held?.[name], pick(run)));
}

function results(runs) {
  const settings = (run) => run.state.described.settings ?? {};
  const speed = (name, label) => ({
    name,
    label,
    numeric: true,
    value: (run) => numberOf(speedOf(run.state)?.values[name]),
    cell: (run) =>
      speedOf(run.state) && name in speedOf(run.state).values
        ? fact(speedOf(run.state), `values.${name}`, "ratio")
        : speedKind(run.state) === "masked"
          ? h("span", { class: "none" }, "no speed-up")
          : missing("not measured"),
  });
  const columns = [
    {
      name: "run",
      label: "run",
      value: (run) => run.name,
      cell: (run) =>
        button(harmless(run.name, 60), () => goTo({ run: run.name, view: "overview", cycle: "", head: "" }), { class: "link" }),
    },
    { name: "state", label: "state", value: (run) => run.state.over ?? "running", cell: (run) => run.state.over ?? "running" },
    {
      name: "strategy",
      label: "strategy",
      value: (run) => settings(run).strategy,
      cell: (run) => harmless(settings(run).strategy ?? "–", 40),
    },
    { name: "mode", label: "mode", value: (run) => settings(run).mode, cell: (run) => harmless(settings(run).mode ?? "–", 40) },
    {
      name: "awake",
      label: "heads awake",
      numeric: true,
      value: (run) => awakeAt(run.state, Infinity),
      cell: (run) =>
        h(
          "span",
          { "data-run": run.name },
          counted(awakeAt(run.state, Infinity), "awake"),
          " of ",
          counted(headsOf(run.state).length, "heads"),
        ),
    },
    ...COLUMNS.map((column) => ({
      name: column[0],
      label: column[1],
      numeric: true,
      value: (run) => valueOf(run, column),
      cell: (run) =>
        h(
          "span",
          { "data-run": run.name },
          fact(
            column[2](run),
            column[3],
            column[4],
            column[3].includes("difference") || column[0] === "low" || column[0] === "high",
          ),
        ),
    })),
    speed("prefill_ratio", "reading speed"),
    speed("decode_ratio", "writing speed"),
  ];
  const tools = csvButton("runs", () => [
    ["run", "state", "strategy", "mode", "heads awake", "heads", ...COLUMNS.map(([name]) => name), "prefill_ratio", "decode_ratio"],
    runs.map((run) => [
      run.name,
      run.state.over ?? "running",
      settings(run).strategy,
      settings(run).mode,
      awakeAt(run.state, Infinity),
      headsOf(run.state).length,
      ...COLUMNS.map((column) => valueOf(run, column)),
      numberOf(speedOf(run.state)?.values.prefill_ratio),
      numberOf(speedOf(run.state)?.values.decode_ratio),
    ]),
  ]);
  return panel(
    "Results",
    { id: "results", wide: true, tools },
    sortable("results of the runs compared", columns, runs, { sort: placeNow().sort, rowKey: (run) => run.name }),
  );
}

// What quality cost: each run at its last stage, against its own baseline.
function tradeOff(runs) {
  const rows = runs.map((run) => {
    const [last, first] = [valueOf(run, COLUMNS[0]), valueOf(run, COLUMNS[1])];
    const speed = numberOf(speedOf(run.state)?.values.decode_ratio ?? speedOf(run.state)?.values.prefill_ratio);
    return {
      name: run.name,
      change: last / first - 1,
      speed: Number.isNaN(speed) && speedKind(run.state) === "masked" ? 1 : speed,
      masked: speedKind(run.state) === "masked",
      kept: awakeAt(run.state, Infinity) / Math.max(1, headsOf(run.state).length),
    };
  });
  return chart({
    id: "trade-off",
    title: "Quality against speed",
    height: 320,
    drawn: rows.map((row) => `${row.name}${row.change}${row.speed}`).join(),
    say: rows.map((row) => `${row.name}: perplexity ${told(row.change, "share")}, speed ${told(row.speed, "ratio")}`).join("; "),
    note: "masked runs stand at 1×: they have no speed-up",
    table: () => [
      ["run", "change of perplexity", "measured speed", "heads awake"],
      rows.map((row) => [row.name, row.change, row.speed, row.kept]),
    ],
    cells: () =>
      rows.map((row) => [
        harmless(row.name, 60),
        told(row.change, "share"),
        row.masked ? "no speed-up" : told(row.speed, "ratio"),
        told(row.kept, "share"),
      ]),
    plot: (ink) => ({
      traces: rows
        .filter((row) => Number.isFinite(row.change) && Number.isFinite(row.speed))
        .map((row, place) => ({
          type: "scatter",
          mode: "markers",
          name: row.name,
          x: [row.speed],
          y: [100 * row.change],
          marker: { size: 12, symbol: place % 20, color: ink.lines[place % 8], line: { width: 1, color: ink.ink } },
        })),
      layout: {
        hovermode: "closest",
        showlegend: rows.length <= 8,
        xaxis: { title: { text: "times as fast as with all heads" }, showgrid: true },
        yaxis: { title: { text: "perplexity, % above baseline" } },
      },
    }),
  });
}

function overCycles(runs) {
  const rows = runs
    .flatMap((run) =>
      Array.from({ length: lastCycle(run.state) + 1 }, (_, cycle) => {
        const { tuned, pruned } = stagesAround(run.state, cycle);
        const stage = cycle ? (tuned ?? pruned) : run.state.evaluations.find((each) => each.stage === "baseline");
        return { name: run.name, cycle, perplexity: numberOf(stage?.values.perplexity), awake: awakeAt(run.state, cycle) };
      }),
    )
    .filter((row) => !Number.isNaN(row.perplexity));
  if (!rows.length) return null;
  return chart({
    id: "runs-over-cycles",
    title: "Perplexity by heads awake",
    height: 320,
    drawn: `${rows.length} ${runs.length}`,
    say: `${runs.length} runs over their cycles.`,
    table: () => [
      ["run", "cycle", "heads awake", "perplexity"],
      rows.map((row) => [row.name, row.cycle, row.awake, row.perplexity]),
    ],
    plot: (ink) => ({
      traces: runs.map((run, place) => {
        const own = rows.filter((row) => row.name === run.name);
        return {
          type: "scatter",
          mode: "lines+markers",
          name: run.name,
          x: own.map((row) => row.awake),
          y: own.map((row) => row.perplexity),
          line: { color: ink.lines[place % 8], dash: ["solid", "dash", "dot"][Math.floor(place / 8) % 3] },
          marker: { symbol: place % 20, size: 7 },
        };
      }),
      layout: {
        hovermode: "closest",
        showlegend: runs.length <= 8,
        xaxis: { title: { text: "heads awake" }, autorange: "reversed", showgrid: true },
        yaxis: { title: { text: "perplexity" } },
      },
    }),
  });
}

// Settings that are not the same in all.
function different(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.state.described.settings ?? {})))];
  const said = (run, name) => harmless(JSON.stringify(run.state.described.settings?.[name] ?? null), 80);
  const rows = names.filter((name) => name !== "out" && new Set(runs.map((run) => said(run, name))).size > 1);
  if (!rows.length)
    return panel("Settings that differ", { id: "different" }, empty("None: these runs were asked for the same.", ""));
  const columns = [
    { name: "setting", label: "setting", sorts: false, cell: plainName },
    ...runs.map((run) => ({
      name: run.name,
      label: harmless(run.name, 40),
      sorts: false,
      cell: (name) => h("bdi", null, said(run, name)),
    })),
  ];
  return panel(
    "Settings that differ",
    { id: "different", wide: true },
    sortable("settings that differ between the runs", columns, rows, { rowKey: (name) => name }),
  );
}
