// The page: which run, which view, light or dark; folds what comes and draws it, ten times a second at most.

import { analysis } from "./analysis.js";
import { compare, comparedNames } from "./compare.js";
import { allCycles } from "./cycles.js";
import { evaluation } from "./evaluation.js";
import { emptyState } from "./fold.js";
import { harmless, told } from "./format.js";
import { isHead } from "./grid.js";
import { growth } from "./growth.js";
import { close, headLife } from "./head.js";
import { overview } from "./overview.js";
import { counted, empty } from "./parts.js";
import { addressOf, goTo, onMove, placeNow } from "./place.js";
import { onChartChange, themeNow } from "./plots.js";
import { pruning } from "./pruning.js";
import { standingOf } from "./reading.js";
import { cycleNow, halt, onScrub, scrubber } from "./scrub.js";
import { lookAt, openShelf, shelf } from "./shelf.js";
import { feedNow } from "./source.js";
import { h, render } from "./tree.js";
import { recovery, warmup } from "./warmup.js";
import { wordOfStanding } from "./words.js";

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
const NO_RUN = emptyState();
const REMEMBERED = "neural-plasticity-theme";

let unshowable = ""; // why nothing at all can be shown
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
  const { run, view, head } = placeNow();
  if (lookAt(run, view === "compare" ? comparedNames([...shelf.runs.keys()], false) : [])) halt();
  const state = shelf.runs.get(shelf.shown)?.state ?? NO_RUN;
  const [title] = VIEWS.get(view) ?? VIEWS.get("overview");
  document.title = `${title} · ${harmless(state.name || shelf.shown || "plasticity", 80)}`;
  const isOpen = view !== "compare" && isHead(state, head);
  const nodes = [
    masthead(state),
    navigation(view),
    h(
      "div",
      { class: `body${isOpen ? " with-life" : ""}`, key: "body" },
      main(state, view, title),
      isOpen && stumbling(() => headLife(state, cycleNow(state))),
    ),
  ];
  render(document.getElementById("page"), nodes, state); // one object as long as it is folded on: another is another past
  document.documentElement.dataset.ready = String(state.seq);
  if (view === arrived) return;
  arrived = view;
  document.querySelector(".views [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

function main(state, view, title) {
  const [, show, scrubs] = VIEWS.get(view) ?? VIEWS.get("overview");
  const content = unshowable ? empty("This page cannot be shown.", unshowable) : stumbling(() => contentOf(show, state));
  const isOpen = show && isHead(state, placeNow().head);
  if (!scrubs && !isOpen) halt();
  return h(
    "main",
    { id: "main", key: `main-${view}`, tabindex: "-1", "aria-label": title },
    h("h1", { class: "hidden" }, title),
    (scrubs || isOpen) && scrubber(state),
    h("div", { class: "panels", key: "panels" }, content),
  );
}

function contentOf(show, state) {
  return show ? show(state, cycleNow(state), standsNow(state)) : compare(shelf.runs, shelf.mode === "offline");
}

// One view that stumbles over a record must not take the others with it.
function stumbling(show) {
  try {
    return show();
  } catch (fault) {
    console.error(fault);
    return empty("This view stumbled over the record.", `${fault}; the other views and the run's folder are as they were.`);
  }
}

function masthead(state) {
  const names = [...shelf.runs.keys()];
  const shownName = harmless(state.name || shelf.shown, 80);
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
              value: shelf.shown,
              "aria-label": "run",
              on: { change: (event) => goTo({ run: event.target.value, cycle: "", head: "", stages: "" }) },
            },
            names.map((name) => h("option", { key: name, value: name, selected: name === shelf.shown }, harmless(name, 80))),
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
  const isStopped = standsNow(state) === "stopped";
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
      !isStopped && h("progress", { max: String(phase.steps), value: phase.step ?? 0, "aria-label": name }),
    ],
    isStopped && h("span", { class: "onward" }, h("code", null, "plasticity resume"), " goes on with it"),
  );
}

// One word for how things stand: whether the page is fed, and whether there is more to come.
function standing(state) {
  const [word, kind] = standingWord(state);
  return h(
    "span",
    { class: `standing ${kind}`, key: "standing", role: "status", title: shelf.why || null },
    h("i", { "aria-hidden": "true" }),
    word,
    h("span", { class: "hidden" }, ", ", counted(state.items, "events"), " events"),
  );
}

function standsNow(state) {
  return standingOf(state, shelf.runs.get(shelf.shown)?.row);
}

function standingWord(state) {
  const stands = standsNow(state);
  const over = {
    finished: ["ended", "ended"],
    failed: ["stopped early", "failed"],
    stopped: [wordOfStanding("stopped"), "stopped"],
    unreadable: [wordOfStanding("unreadable"), "failed"],
  }[stands];
  if (shelf.mode === "offline") return over ?? ["report of an unfinished run", "ended"];
  if (shelf.status === "refused") return ["needs its token", "failed"];
  if (shelf.status === "reconnecting") return ["reconnecting", "reconnecting"];
  return over ?? { live: ["live", "live"], polling: ["live (polling)", "live"] }[shelf.status] ?? ["connecting", "reconnecting"];
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
    shelf.why = "This browser does not remember the theme.";
  }
  showTheme(name);
  schedule();
}

function showTheme(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
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
openShelf(feedNow(), schedule)
  .catch((fault) => {
    unshowable = fault.message;
  })
  .finally(schedule);
