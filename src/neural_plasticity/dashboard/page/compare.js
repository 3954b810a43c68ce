// Runs side by side: what each was asked, what it cost, what it won.

import { colouring, overCycles, tradeOff } from "./abreast.js";
import { harmless, numberOf, told } from "./format.js";
import { button, counted, csvButton, empty, fact, missing, panel, sortable, valueAt } from "./parts.js";
import { goTo, placeNow } from "./place.js";
import { awakeAt, headsOf, speedKind, speedOf, standingOf, weighedAt } from "./reading.js";
import { h } from "./tree.js";
import { plainName, wordOfStanding } from "./words.js";

const FEWEST = 2;
const MOST = 50;
const ACROSS = 6; // runs that stand side by side as columns; more stand below one another
const NONE = ","; // an address that names no run, of a report, where no address at all names every run

// The names of the runs that are compared, by the address; all of an offline report where it names none.
export function comparedNames(names, isOffline) {
  const { runs } = placeNow();
  const known = new Set(names);
  const asked = runs.split(",").map((name) => name.replaceAll("%2C", ",").replaceAll("%25", "%"));
  const found = [...new Set(asked)].filter((name) => known.has(name));
  return (isOffline && !found.length && runs !== NONE ? names : found).slice(0, MOST);
}

// `runs` has, by name, {state, row, fault}: what is folded of it (or null), what the server's list says, why it cannot be read.
export function compare(runs, isOffline) {
  const names = [...runs.keys()];
  const chosen = comparedNames(names, isOffline);
  const asked = chosen.map((name) => ({ name, ...runs.get(name) }));
  const loaded = asked.filter((run) => run.state);
  const coming = asked.some((run) => !run.state && !run.fault);
  const drawn = coming ? loaded.slice(0, 2 ** Math.floor(Math.log2(loaded.length || 1))) : loaded; // charts are dear
  return [
    chooser(runs, chosen, isOffline),
    ...(chosen.length < FEWEST
      ? [
          empty(
            names.length < FEWEST ? "There is one run only." : "Choose two runs or more.",
            `From ${FEWEST} to ${MOST} runs can be compared; the address keeps the choice.`,
          ),
        ]
      : [
          awaited(asked.filter((run) => !run.state)),
          results(loaded),
          colouring(drawn),
          tradeOff(drawn),
          overCycles(drawn),
          different(loaded),
        ]),
  ];
}

// Runs that are chosen and not there: those that are still read, and those that cannot be.
function awaited(runs) {
  if (!runs.length) return null;
  const lost = runs.filter((run) => run.fault);
  const coming = runs.length - lost.length;
  return h(
    "div",
    { class: "awaited wide", key: "awaited", role: "status" },
    coming > 0 && h("p", { class: "note" }, `Reading ${coming} more…`),
    lost.map((run) =>
      h(
        "p",
        { class: "failed", key: run.name },
        h("b", null, h("bdi", null, harmless(run.name, 80)), " cannot be read: "),
        harmless(run.row?.message ?? run.fault, 400),
        " It is tried again from time to time.",
      ),
    ),
  );
}

function chooser(runs, chosen, isOffline) {
  const { filter } = placeNow();
  const wanted = filter.toLowerCase();
  const shown = [...runs].filter(
    ([name, run]) => !wanted || `${name} ${whatOf(run).join(" ")}`.toLowerCase().includes(wanted),
  );
  const choose = (names) =>
    goTo(
      {
        runs:
          names
            .slice(0, MOST)
            .map((name) => name.replaceAll("%", "%25").replaceAll(",", "%2C"))
            .join(",") || (isOffline ? NONE : ""),
      },
      { small: true },
    );
  const toggle = (name) => {
    const now = comparedNames([...runs.keys()], isOffline); // a second press may come before the first is drawn
    choose(now.includes(name) ? now.filter((each) => each !== name) : [...now, name]);
  };
  const tools = [
    h("input", {
      type: "search",
      class: "filter",
      placeholder: "name, strategy, state…",
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
      shown.map(([name, run]) =>
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
          h("small", null, standingShown(run), ...whatOf(run).slice(1).map((word) => ` · ${word}`)),
        ),
      ),
    ),
  );
}

// What a list says of a run besides its name: how it stands, and what was asked of it.
function whatOf({ state, row }) {
  const { strategy, mode, level } = row ?? state?.described.settings ?? {};
  return [
    wordOfStanding(standingOf(state, row)),
    ...[strategy, mode].filter((word) => word !== undefined && word !== null).map((word) => harmless(word, 40)),
    ...(level === undefined || level === null ? [] : [`level ${told(numberOf(level))}`]),
  ];
}

function standingShown({ state, row }) {
  const standing = standingOf(state, row);
  return h("span", { class: `stands ${standing}` }, wordOfStanding(standing));
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
  return numberOf(valueAt(pick(run), field));
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
        button(harmless(run.name, 80), () => goTo({ run: run.name, view: "overview", cycle: "", head: "" }), {
          class: "link run-called",
        }),
    },
    { name: "state", label: "state", value: (run) => standingOf(run.state, run.row), cell: standingShown },
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
      standingOf(run.state, run.row),
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

// Settings that are not the same in all: few runs stand beside one another, many below, so that they can be sorted.
function different(runs) {
  const said = (run, name) => settingSaid(run.state.described.settings?.[name]);
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.state.described.settings ?? {})))].filter(
    (name) => name !== "out" && new Set(runs.map((run) => said(run, name))).size > 1,
  );
  if (!names.length)
    return panel("Settings that differ", { id: "different" }, empty("None: these runs were asked for the same.", ""));
  const caption = "settings that differ between the runs";
  const across = [
    { name: "setting", label: "setting", sorts: false, cell: plainName },
    ...runs.map((run) => ({
      name: run.name,
      label: harmless(run.name, 40),
      sorts: false,
      cell: (name) => h("bdi", null, said(run, name)),
    })),
  ];
  const below = [
    { name: "run", label: "run", value: (run) => run.name, cell: (run) => h("bdi", { class: "run-called" }, harmless(run.name, 80)) },
    ...names.map((name) => ({
      name,
      label: plainName(name),
      value: (run) => run.state.described.settings?.[name],
      cell: (run) => h("bdi", null, said(run, name)),
    })),
  ];
  return panel(
    "Settings that differ",
    { id: "different", wide: true },
    runs.length > ACROSS
      ? sortable(caption, below, runs, { sort: placeNow().sort, rowKey: (run) => run.name })
      : sortable(caption, across, names, { rowKey: (name) => name }),
  );
}

function settingSaid(value) {
  return harmless(typeof value === "string" && value ? value : JSON.stringify(value ?? null), 80);
}
