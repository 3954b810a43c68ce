// Where the reader is, as the part of the address behind `#`: everything that changes what is seen can be sent to a colleague.

const DEFAULTS = {
  view: "overview",
  run: "",
  cycle: "",
  signal: "",
  head: "",
  stages: "",
  sort: "",
  filter: "",
  action: "",
  runs: "",
  by: "",
  token: "",
};
const LONGEST_PART = { runs: 40000 }; // letters: fifty names of folders, as long as file systems let them be
const USUAL_PART = 4000;
let listener = () => {};

export function placeNow() {
  const named = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, usual]) => [
      name,
      (named.get(name) ?? usual).slice(0, LONGEST_PART[name] ?? USUAL_PART),
    ]),
  );
}

// The address of the same place with some of it changed.
export function addressOf(changes) {
  const named = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...placeNow(), ...changes })) {
    if (value !== DEFAULTS[name] && value !== null) named.set(name, value);
  }
  return `#${named.toString().replaceAll("%2C", ",")}`;
}

// Go there. A small step (a cycle scrubbed, a letter typed) leaves no trace in the history; a big one can be gone back from.
export function goTo(changes, { small = false } = {}) {
  const address = addressOf(changes);
  if (address === (location.hash || "#")) return;
  history[small ? "replaceState" : "pushState"](null, "", address);
  listener();
}

export function onMove(told) {
  listener = told;
  addEventListener("hashchange", told);
  addEventListener("popstate", told);
}
