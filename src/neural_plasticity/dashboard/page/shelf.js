// The runs that the page knows of: those inside a report, or those of a server. Of these one is followed as it goes on, and
// those that are compared are read: a few at a time, again only when there is more, and after a failure with growing pauses.

import { wordOf } from "./fitness.js";
import { emptyState, fold, redescribe } from "./fold.js";
import { describedRun, followed, listedRuns, runsInside, wholeRun } from "./source.js";

const LISTED = 5000; // milliseconds between two lists, and the shortest between two readings of a run
const LONGEST_PAUSE = 60000;
const AT_ONCE = 4; // runs that are read side by side: a browser opens six connections, and the stream has one of them
const REST = 10; // times as long as a reading took, until a run that goes on is read again

export const shelf = { mode: "offline", runs: new Map(), shown: "", status: "", why: "" };
const reading = new Set();
let beside = new Set(); // the names of those that are compared
let halted = null; // stops following the run that is shown
let unheard = 0; // lists in a row that did not come
let changed = () => {};

export async function openShelf(feed, told) {
  changed = told;
  shelf.mode = feed.mode;
  if (feed.mode === "live") {
    for (const name of feed.runs ?? []) shelf.runs.set(name, entryOf());
    list();
    return;
  }
  for (const run of await runsInside(feed)) {
    const state = insideRun(run);
    shelf.runs.set(freeName(wordOf(state.described.name) || "run"), entryOf(state));
  }
}

// A run of the report; one that cannot be folded says so itself, and leaves the others as they are.
function insideRun({ described, items }) {
  try {
    return items.reduce(fold, emptyState(described));
  } catch (fault) {
    console.error(fault);
    const name = wordOf(described?.name);
    return emptyState({ name, state: "unreadable", corrupt: `This run cannot be shown: ${fault.message}.` });
  }
}

// What is known of a run: `state` as far as it is folded, `row` of the server's list, and why it could not be read.
function entryOf(state = null) {
  return { state, row: null, described: null, corrupt: null, asked: null, fault: "", failures: 0, due: 0, told: undefined };
}

// Two runs of one name may come from two folders.
function freeName(name) {
  let free = name;
  for (let number = 2; shelf.runs.has(free); number += 1) free = `${name} (${number})`;
  return free;
}

// Bring what is followed and read in line with what is looked at; true where another run is shown than before.
export function lookAt(run, names) {
  const { runs, shown } = shelf;
  const wanted = runs.has(run) ? run : runs.has(shown) ? shown : ([...runs.keys()][0] ?? "");
  const another = wanted !== shown;
  if (another) show(wanted);
  beside = new Set(shelf.mode === "live" ? names : []);
  readDue();
  return another;
}

function show(name) {
  halted?.();
  halted = null;
  const left = shelf.runs.get(shelf.shown);
  shelf.shown = name;
  if (shelf.mode !== "live" || !name) return;
  if (left) left.state = null; // nobody keeps it true from here on, and its maps take room
  follow(name, shelf.runs.get(name));
}

function follow(name, entry) {
  const begin = () => {
    Object.assign(entry, { described: null, corrupt: null }); // under the same name there may be another run now
    entry.state = emptyState({ name });
    changed();
    describe(name, entry);
  };
  begin();
  shelf.status = "";
  halted = followed(name, {
    items: (items) => {
      entry.state = items.reduce(fold, entry.state);
      changed();
    },
    restarted: begin,
    status: (status, why = "") => {
      const back = status !== shelf.status && ["live", "polling"].includes(status);
      Object.assign(shelf, { status, why });
      if (back && !entry.described && !entry.asked) describe(name, entry); // it was asked for while nobody answered
      changed();
    },
    corrupt: (message) => {
      entry.corrupt = message;
      entry.state.described = { ...entry.state.described, corrupt: message };
      changed();
    },
  });
}

async function describe(name, entry) {
  const asking = {};
  entry.asked = asking; // whoever asked before gets what may be no longer true
  try {
    const told = await describedRun(name);
    if (entry.asked !== asking) return;
    entry.described = told;
    if (shelf.shown === name) redescribe(entry.state, { ...told, corrupt: entry.corrupt });
  } catch (fault) {
    if (entry.asked === asking) shelf.why = fault.message;
  } finally {
    if (entry.asked === asking) entry.asked = null;
  }
  changed();
}

function readDue() {
  for (const name of beside) {
    if (reading.size >= AT_ONCE) return;
    const entry = shelf.runs.get(name);
    if (entry && name !== shelf.shown && !reading.has(name) && performance.now() >= entry.due && isBehind(entry)) read(name, entry);
  }
}

// Whether there is something to read that was not there when it was read last.
function isBehind({ state, row, told }) {
  return !state || (row?.events !== undefined && row.events !== told && row.events !== state.seq + 1);
}

// A run that is only compared: its numbers without its maps. Who is no longer compared is read no further.
async function read(name, entry) {
  reading.add(name);
  const began = performance.now();
  entry.told = entry.row?.events;
  try {
    const described = await describedRun(name);
    const fresh = () => Object.assign(emptyState(described), { light: true });
    let state = fresh();
    for await (const items of wholeRun(name)) {
      if (!beside.has(name)) return;
      if (items.length && items[0].seq <= state.seq) state = fresh(); // its past was cut away in between
      state = items.reduce(fold, state);
    }
    if (name !== shelf.shown) entry.state = state;
    Object.assign(entry, { fault: "", failures: 0 });
  } catch (fault) {
    Object.assign(entry, { fault: fault.message, failures: entry.failures + 1 });
  } finally {
    reading.delete(name);
    if (beside.has(name)) entry.due = performance.now() + pauseAfter(entry, performance.now() - began);
    changed();
    readDue();
  }
}

function pauseAfter({ failures }, took) {
  return failures ? Math.min(LONGEST_PAUSE, LISTED * 2 ** (failures - 1)) : Math.max(LISTED, REST * took);
}

async function list() {
  try {
    if (!document.hidden) {
      take(await listedRuns());
      unheard = 0;
    }
  } catch (fault) {
    unheard += 1;
    shelf.why = fault.message; // the stream of the run tells of it too, and both are tried again
  }
  changed();
  setTimeout(list, Math.min(LONGEST_PAUSE, LISTED * 2 ** Math.max(0, unheard - 3)));
}

function take(rows) {
  const known = new Map(rows.map((row) => [row.name, row]));
  for (const name of shelf.runs.keys()) if (!known.has(name) && name !== shelf.shown) shelf.runs.delete(name);
  for (const [name, row] of known) {
    if (!shelf.runs.has(name)) shelf.runs.set(name, entryOf());
    shelf.runs.get(name).row = row;
  }
  shelf.runs = new Map([...shelf.runs].sort(([one], [other]) => (one < other ? 1 : -1)));
}
