// Charts of several runs at once: few have a colour each, many share the colours of a setting.

import { harmless, numberOf, told } from "./format.js";
import { choice } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { chart } from "./plots.js";
import { awakeAt, headsOf, lastCycle, speedKind, speedOf, stagesAround } from "./reading.js";
import { h } from "./tree.js";
import { plainName } from "./words.js";

const EACH = 8; // runs that have a colour of their own, and groups that do
const LIKELY = ["strategy", "mode", "schedule", "level", "cycles", "exchange", "growth", "learning_rate", "model"];
const DASHES = ["solid", "dash", "dot"];

// What the colours stand for where there are too many runs for one each.
export function colouring(runs) {
  if (runs.length <= EACH) return null;
  const names = groupings(runs);
  if (!names.length) return null;
  return h(
    "div",
    { class: "row", key: "colouring" },
    choice(
      "colours by",
      groupingNow(runs),
      names.map((name) => [name, plainName(name)]),
      (name) => goTo({ by: name }, { small: true }),
    ),
    h("small", null, "a line or point tells its run when it is pointed at; the tables behind the charts name them all"),
  );
}

// Settings that part these runs into a few groups.
function groupings(runs) {
  const names = [...new Set([...LIKELY, ...runs.flatMap((run) => Object.keys(run.state.described.settings ?? {})).sort()])];
  return names.filter((name) => {
    const size = new Set(runs.map((run) => settingOf(run, name))).size;
    return name !== "out" && size > 1 && size <= EACH;
  });
}

function groupingNow(runs) {
  const names = groupings(runs);
  return names.includes(placeNow().by) ? placeNow().by : (names[0] ?? "");
}

function settingOf(run, name) {
  const value = run.state.described.settings?.[name];
  return value === undefined || value === null ? "none" : harmless(typeof value === "object" ? JSON.stringify(value) : value, 40);
}

// The group of each run, {word, place}; or none, where every run has a colour of its own.
function groupsOf(runs) {
  if (runs.length <= EACH) return runs.map((run, place) => ({ word: "", place }));
  const by = groupingNow(runs);
  const words = runs.map((run) => settingOf(run, by));
  const order = [...new Set(words)].sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  return words.map((word) => ({ word: by && `${plainName(by)} ${word}`, place: by ? order.indexOf(word) : 7 }));
}

// One trace for each run, and for each group one without a point, which stands in the legend.
function tracesOf(runs, ink, traceOf) {
  const groups = groupsOf(runs);
  const few = runs.length <= EACH;
  const words = new Map(groups.filter(({ word }) => word).map((group) => [group.word, group]));
  const named = [...words.values()]
    .sort((one, other) => one.place - other.place)
    .map((group) => ({ name: group.word, x: [null], y: [null], marker: markerOf(group, ink, 10) }))
    .map((trace) => ({ type: "scatter", mode: "markers", ...trace }));
  const own = runs.map((run, place) => ({ showlegend: few, ...traceOf(run, groups[place], few) }));
  return [...own.filter(({ x }) => x.length), ...named];
}

function markerOf({ place }, ink, size) {
  return { size, symbol: place % 20, color: ink.lines[place % EACH] };
}

// Groups that changed make a chart that changed.
function groupingDrawn(runs) {
  return groupsOf(runs)
    .map(({ word, place }) => `${word}${place}`)
    .join();
}

function endsOf(run) {
  const last = run.state.evaluations.at(-1);
  const first = run.state.evaluations.find((each) => each.stage === "baseline");
  return [first, last].map((each) => numberOf(each?.values.perplexity));
}

// What quality cost: each run at its last stage, against its own baseline.
export function tradeOff(runs) {
  const rows = runs.map((run) => {
    const [first, last] = endsOf(run);
    const speed = numberOf(speedOf(run.state)?.values.decode_ratio ?? speedOf(run.state)?.values.prefill_ratio);
    const masked = speedKind(run.state) === "masked";
    return {
      name: run.name,
      change: last / first - 1,
      speed: Number.isNaN(speed) && masked ? 1 : speed,
      masked,
      kept: awakeAt(run.state, Infinity) / Math.max(1, headsOf(run.state).length),
    };
  });
  const shown = rows.filter((row) => Number.isFinite(row.change) && Number.isFinite(row.speed));
  const left = rows.length - shown.length;
  return chart({
    id: "trade-off",
    title: "Quality against speed",
    height: 320,
    drawn: rows.map((row) => `${row.name}${row.change}${row.speed}`).join() + groupingDrawn(runs),
    say: tradeOffSaid(rows, shown),
    note: ["masked runs stand at 1×: they have no speed-up", left && `${left} without a measured speed are not drawn`]
      .filter(Boolean)
      .join("; "),
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
      traces: tracesOf(runs, ink, (run, group, few) => {
        const row = rows[runs.indexOf(run)];
        return {
          type: "scatter",
          mode: "markers",
          name: row.name,
          x: shown.includes(row) ? [row.speed] : [],
          y: shown.includes(row) ? [100 * row.change] : [],
          opacity: few ? 1 : 0.8,
          marker: { ...markerOf(group, ink, few ? 12 : 9), line: { width: 1, color: ink.ink } },
        };
      }),
      layout: {
        hovermode: "closest",
        showlegend: true,
        xaxis: { title: { text: "times as fast as with all heads" }, showgrid: true },
        yaxis: { title: { text: "perplexity, % above baseline" } },
      },
    }),
  });
}

function tradeOffSaid(rows, shown) {
  if (rows.length <= EACH)
    return rows.map((row) => `${row.name}: perplexity ${told(row.change, "share")}, speed ${told(row.speed, "ratio")}`).join("; ");
  if (!shown.length) return `${rows.length} runs, none with a measured speed.`;
  const between = (name, unit) => {
    const values = shown.map((row) => row[name]);
    return `from ${told(Math.min(...values), unit)} to ${told(Math.max(...values), unit)}`;
  };
  return `${shown.length} of ${rows.length} runs: perplexity ${between("change", "share")}, speed ${between("speed", "ratio")}.`;
}

export function overCycles(runs) {
  const paths = runs.map((run) => ({ run, rows: pathOf(run) }));
  const rows = paths.flatMap((path) => path.rows);
  if (!rows.length) return null;
  return chart({
    id: "runs-over-cycles",
    title: "Perplexity by heads awake",
    height: 320,
    drawn: paths.map(({ run, rows: own }) => `${run.name}${own.length}${own.at(-1)?.perplexity}`).join() + groupingDrawn(runs),
    say: `${runs.length} runs over their cycles.`,
    table: () => [
      ["run", "cycle", "heads awake", "perplexity"],
      rows.map((row) => [row.name, row.cycle, row.awake, row.perplexity]),
    ],
    plot: (ink) => ({
      traces: tracesOf(runs, ink, (run, group, few) => {
        const own = paths.find((path) => path.run === run).rows;
        return {
          type: "scatter",
          mode: "lines+markers",
          name: run.name,
          opacity: few ? 1 : 0.75,
          x: own.map((row) => row.awake),
          y: own.map((row) => row.perplexity),
          line: { color: ink.lines[group.place % EACH], width: few ? 2 : 1.2, dash: DASHES[Math.floor(group.place / EACH) % 3] },
          marker: markerOf(group, ink, few ? 7 : 5),
        };
      }),
      layout: {
        hovermode: "closest",
        showlegend: true,
        xaxis: { title: { text: "heads awake" }, autorange: "reversed", showgrid: true },
        yaxis: { title: { text: "perplexity" } },
      },
    }),
  });
}

function pathOf(run) {
  return Array.from({ length: lastCycle(run.state) + 1 }, (_, cycle) => {
    const { tuned, pruned } = stagesAround(run.state, cycle);
    const stage = cycle ? (tuned ?? pruned) : run.state.evaluations.find((each) => each.stage === "baseline");
    return { name: run.name, cycle, perplexity: numberOf(stage?.values.perplexity), awake: awakeAt(run.state, cycle) };
  }).filter((row) => !Number.isNaN(row.perplexity));
}
