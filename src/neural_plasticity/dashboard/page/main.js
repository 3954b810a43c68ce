// The page: which run, which view, light or dark; folds what comes and draws it, ten times a second at most.

import { analysis } from "./analysis.js";
import { compare, comparedNames } from "./compare.js";
import { allCycles } from "./cycles.js";
import { evaluation } from "./evaluation.js";
import { emptyState, fold } from "./fold.js";
import { harmless, told } from "./format.js";
import { isHead } from "./grid.js";
import { growth } from "./growth.js";
import { close, headLife } from "./head.js";
import { overview } from "./overview.js";
import { counted, empty } from "./parts.js";
import { addressOf, goTo, onMove, placeNow } from "./place.js";
import { onChartChange, themeNow } from "./plots.js";
import { pruning } from "./pruning.js";
import { cycleNow, halt, onScrub, scrubber } from "./scrub.js";
import { describedRun, feedNow, followed, listedRuns, runsInside, wholeRun } from "./source.js";
import { h, render } from "./tree.js";
import { recovery, warmup } from "./warmup.js";

const VIEWS = new Map(
  Object.entries({
    overview: ["Overview", overview, false],
    "warm-up": ["Warm-up", warmup, false],
    analysis: ["Analysis", analysis, true],
    pruning: ["Pruning", pruning, true],
    recovery: ["Recovery", recovery, true],
    growth: ["Growth", growth, true],
    evaluation: ["Evaluation", evaluation, false],
    cycles: ["All cycles", allCycles, true],
    compare: ["Compare", null, false],
  }),
);
const APART = 90; // milliseconds between two renderings
const LISTED = 5000;
const REMEMBERED = "neural-plasticity-theme";

const app = { mode: "offline", runs: new Map(), shown: "", stop: null, status: "", why: "", fault: "", reading: new Set() };
let asked = false;
let rendered = 0;
let arrived = "";

function schedule() {
  if (asked) return;
  asked = true;
  const wait = Math.max(0, APART - (performance.now() - rendered));
  setTimeout(() => requestAnimationFrame(draw), wait);
}

function draw() {
  asked = false;
  rendered = performance.now();
  settle();
  const { view, head } = placeNow();
  const state = app.runs.get(app.shown)?.state ?? emptyState();
  const [title] = VIEWS.get(view) ?? VIEWS.get("overview");
  document.title = `${title} · ${harmless(state.name || app.shown || "plasticity", 80)}`;
  const isOpen = view !== "compare" && isHead(state, head);
  render(document.getElementById("page"), [
    masthead(state),
    navigation(view),
    h(
      "div",
      { class: `body${isOpen ? " with-life" : ""}`, key: "body" },
      main(state, view, title),
      isOpen && headLife(state, cycleNow(state)),
    ),
  ]);
  document.documentElement.dataset.ready = String(state.seq);
  if (view === arrived) return;
  arrived = view;
  document.querySelector(".views [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

function main(state, view, title) {
  const [, show, scrubs] = VIEWS.get(view) ?? VIEWS.get("overview");
  const content = app.fault ? empty("This page cannot be shown.", app.fault) : contentOf(show, state);
  const isOpen = show && isHead(state, placeNow().head);
  return h(
    "main",
    { id: "main", key: `main-${view}`, tabindex: "-1", "aria-label": title },
    h("h1", { class: "hidden" }, title),
    (scrubs || isOpen) && scrubber(state),
    h("div", { class: "panels", key: "panels" }, content),
  );
}

// One view that stumbles over a record must not take the others with it.
function contentOf(show, state) {
  try {
    return show ? show(state, cycleNow(state)) : compare(app.runs, app.mode === "offline");
  } catch (fault) {
    console.error(fault);
    return empty("This view stumbled over the record.", `${fault}; the other views and the run's folder are as they were.`);
  }
}

function masthead(state) {
  const names = [...app.runs.keys()];
  const shownName = harmless(state.name || app.shown, 80);
  return h(
    "header",
    { class: "masthead", key: "masthead" },
    h(
      "a",
      {
        class: "skip",
        href: "#main",
        on: {
          click: (event) => {
            event.preventDefault();
            document.getElementById("main").focus();
          },
        },
      },
      "skip to the content",
    ),
    h("span", { class: "brand", "aria-hidden": "true" }, "plasticity"),
    names.length > 1
      ? h(
          "label",
          { class: "run-choice" },
          h(
            "select",
            {
              value: app.shown,
              "aria-label": "run",
              on: { change: (event) => goTo({ run: event.target.value, cycle: "", head: "", stages: "" }) },
            },
            names.map((name) => h("option", { key: name, value: name, selected: name === app.shown }, harmless(name, 80))),
          ),
        )
      : h("bdi", { class: "run-name" }, shownName || "no run"),
    progress(state),
    standing(state),
    h(
      "label",
      { class: "theme" },
      h(
        "select",
        { value: themeChosen(), "aria-label": "theme", on: { change: (event) => chooseTheme(event.target.value) } },
        ["system", "light", "dark"].map((name) => h("option", { key: name, value: name, selected: name === themeChosen() }, name)),
      ),
    ),
  );
}

function progress(state) {
  const { phase } = state;
  if (!phase || state.over) return h("span", { class: "doing", key: "doing" });
  const name = `${phase.phase}${phase.cycle === null ? "" : ` · cycle ${phase.cycle}`}`;
  const step =
    phase.step === null
      ? null
      : h("data", { class: "n", value: String(phase.step), "data-seq": phase.at, "data-field": "step" }, told(phase.step, "count"));
  return h(
    "span",
    { class: "doing", key: "doing" },
    h("span", null, name),
    phase.steps !== null && [
      " · ",
      step ?? "0",
      " of ",
      h(
        "data",
        { class: "n", value: String(phase.steps), "data-seq": phase.seq, "data-field": "steps" },
        told(phase.steps, "count"),
      ),
      h("progress", { max: String(phase.steps), value: phase.step ?? 0, "aria-label": name }),
    ],
  );
}

// One word for how things stand: whether the page is fed, and whether there is more to come.
function standing(state) {
  const [word, kind] = standingWord(state);
  return h(
    "span",
    { class: `standing ${kind}`, key: "standing", role: "status", title: app.why || null },
    h("i", { "aria-hidden": "true" }),
    word,
    h("span", { class: "hidden" }, ", ", counted(state.items, "events"), " events"),
  );
}

function standingWord(state) {
  const over = { finished: ["ended", "ended"], failed: ["stopped early", "failed"] }[state.over];
  if (app.mode === "offline") return over ?? ["report of an unfinished run", "ended"];
  if (app.status === "refused") return ["needs its token", "failed"];
  if (app.status === "reconnecting") return ["reconnecting", "reconnecting"];
  return over ?? { live: ["live", "live"], polling: ["live (polling)", "live"] }[app.status] ?? ["connecting", "reconnecting"];
}

function navigation(view) {
  return h(
    "nav",
    { class: "views", key: "views", "aria-label": "views" },
    [...VIEWS].map(([name, [title]]) =>
      h(
        "a",
        {
          key: name,
          href: addressOf({ view: name, sort: "", filter: "", action: "" }),
          "aria-current": name === (VIEWS.has(view) ? view : "overview") ? "page" : null,
        },
        title,
      ),
    ),
  );
}

function themeChosen() {
  try {
    return localStorage.getItem(REMEMBERED) ?? "system";
  } catch {
    return document.documentElement.dataset.theme ?? "system"; // a browser that keeps nothing for files still shows both
  }
}

function chooseTheme(name) {
  try {
    localStorage.setItem(REMEMBERED, name);
  } catch {
    app.why = "This browser does not remember the theme.";
  }
  showTheme(name);
  schedule();
}

function showTheme(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

// Bring what is followed and read in line with the address.
function settle() {
  const { run, view } = placeNow();
  const wanted = app.runs.has(run) ? run : app.runs.has(app.shown) ? app.shown : ([...app.runs.keys()][0] ?? "");
  if (wanted !== app.shown || (app.mode === "live" && wanted && !app.stop)) show(wanted);
  if (app.mode === "live" && view === "compare") for (const name of comparedNames([...app.runs.keys()], false)) readLightly(name);
}

function show(name) {
  app.stop?.();
  app.stop = null;
  app.shown = name;
  if (app.mode !== "live" || !name) return;
  halt();
  const run = app.runs.get(name);
  const begin = () => {
    run.state = emptyState(run.described ?? { name });
  };
  begin();
  describedRun(name).then(
    (described) => {
      run.described = described;
      Object.assign(run.state, {
        described,
        layers: emptyState(described).layers.length ? emptyState(described).layers : run.state.layers,
      });
      schedule();
    },
    (fault) => {
      app.why = fault.message;
      schedule();
    },
  );
  app.status = "";
  app.stop = followed(name, {
    items: (items) => {
      run.state = items.reduce(fold, run.state);
      schedule();
    },
    restarted: () => {
      begin();
      schedule();
    },
    status: (status, why = "") => {
      app.status = status;
      app.why = why;
      schedule();
    },
    corrupt: (message) => {
      run.state.described = { ...run.state.described, corrupt: message };
      schedule();
    },
  });
}

// A run that is only compared: its numbers without its maps.
async function readLightly(name) {
  const run = app.runs.get(name);
  if (run.state || app.reading.has(name)) return;
  app.reading.add(name);
  try {
    let state = emptyState(await describedRun(name));
    state.light = true;
    for await (const items of wholeRun(name)) state = items.reduce(fold, state);
    run.state ??= state;
  } catch (fault) {
    app.why = fault.message;
  } finally {
    app.reading.delete(name);
    schedule();
  }
}

async function list() {
  try {
    for (const row of await listedRuns()) {
      if (!app.runs.has(row.name)) app.runs.set(row.name, { state: null, row });
      app.runs.get(row.name).row = row;
    }
    app.runs = new Map([...app.runs].sort(([one], [other]) => (one < other ? 1 : -1)));
    schedule();
  } catch (fault) {
    app.why = fault.message; // the stream of the run tells of it too, and both are tried again
  }
  setTimeout(list, LISTED);
}

// Two runs of one name may come from two folders.
function freeName(name) {
  let free = name;
  for (let number = 2; app.runs.has(free); number += 1) free = `${name} (${number})`;
  return free;
}

async function begin() {
  const feed = feedNow();
  app.mode = feed.mode;
  if (feed.mode === "live") {
    for (const name of feed.runs ?? []) app.runs.set(name, { state: null, row: null });
    list();
  } else {
    for (const { described, items } of await runsInside(feed))
      app.runs.set(freeName(described.name), { state: items.reduce(fold, emptyState(described)), row: null });
  }
}

function shortcuts(event) {
  if (event.key !== "Escape" || !placeNow().head || event.target.matches("input, select")) return;
  close();
}

showTheme(themeChosen());
onMove(schedule);
onScrub(schedule);
onChartChange(schedule);
addEventListener("keydown", shortcuts);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.documentElement.dataset.seen = themeNow();
  schedule();
});
begin()
  .catch((fault) => {
    app.fault = fault.message;
  })
  .finally(schedule);
