// The cycle that is looked at: a slider, a play button, and "latest", which goes along with a run.

import { goTo, placeNow } from "./place.js";
import { button } from "./parts.js";
import { lastCycle } from "./reading.js";
import { h } from "./tree.js";

const PACE = 800; // milliseconds a cycle
let playing = null;

// The cycle of the address, or the latest where it names none.
export function cycleNow(state) {
  const asked = Number.parseInt(placeNow().cycle, 10);
  return Number.isInteger(asked) ? Math.min(lastCycle(state), Math.max(0, asked)) : lastCycle(state);
}

export function scrubber(state) {
  const last = lastCycle(state);
  const cycle = cycleNow(state);
  if (!last) return null;
  return h(
    "div",
    { class: "scrubber", key: "scrubber", role: "group", "aria-label": "cycle shown" },
    button(playing ? "❚❚" : "▶", () => toggle(state), { "aria-label": playing ? "pause" : "play the cycles", class: "play" }),
    h("input", {
      type: "range",
      min: "0",
      max: String(last),
      step: "1",
      value: String(cycle),
      "aria-label": "cycle",
      "aria-valuetext": cycleWord(cycle, last),
      on: {
        input: (event) => {
          halt();
          goTo({ cycle: event.target.value }, { small: true });
        },
      },
    }),
    h("output", { class: "cycle-word" }, cycleWord(cycle, last)),
    button(
      "latest",
      () => {
        halt();
        goTo({ cycle: "" }, { small: true });
      },
      { class: "quiet", disabled: placeNow().cycle === "" },
    ),
  );
}

function cycleWord(cycle, last) {
  return cycle ? `cycle ${cycle} of ${last}` : `before cycle 1 of ${last}`;
}

function toggle(state) {
  if (playing) return halt();
  const from = cycleNow(state) >= lastCycle(state) ? 0 : cycleNow(state);
  playing = setInterval(() => onward(state), PACE);
  goTo({ cycle: String(from) }, { small: true });
  scrubbed();
}

function onward(state) {
  const next = cycleNow(state) + 1;
  if (next >= lastCycle(state)) halt();
  goTo({ cycle: String(Math.min(next, lastCycle(state))) }, { small: true });
}

export function halt() {
  if (playing === null) return;
  clearInterval(playing);
  playing = null;
  scrubbed();
}

let scrubbed = () => {};

export function onScrub(told) {
  scrubbed = told;
}
