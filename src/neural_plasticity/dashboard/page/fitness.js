// What an event must be before it is folded: one that no run could have told is left out, and the page says so.

const FURTHEST = 10000; // layers, heads of a layer, or cycles
const LARGEST_MAP = 100000; // layers × heads: cells that a browser can still draw
const LAST_TIME = 8.64e12; // seconds that a date can hold

// Why this event cannot be shown, or nothing.
export function unfitness({ time, cycle, step, steps, head, heads }) {
  if (!(Math.abs(time) <= LAST_TIME)) return "its time is none";
  if (!isAbsent(cycle) && !isCount(cycle)) return "its cycle is none";
  if ([step, steps].some((each) => !isAbsent(each) && !(each >= 0 && Number.isFinite(each)))) return "its step is none";
  if (!isAbsent(heads) && !Array.isArray(heads)) return "its heads are none";
  if ([...(heads ?? []), ...(isAbsent(head) ? [] : [head])].some((each) => !isPair(each))) return "its heads are none";
  return "";
}

// The anatomy's heads of each layer, as far as it tells of any; what is no site is passed over.
export function layersIn(anatomy) {
  const sites = Array.isArray(anatomy?.sites) ? anatomy.sites : [];
  const layers = [];
  for (const site of sites) if (isPair([site?.layer, site?.heads])) layers[site.layer] = site.heads;
  const whole = Array.from(layers, (heads) => heads ?? 0);
  return isDrawable(whole.length, Math.max(0, ...whole)) ? whole : [];
}

export function isDrawable(layers, heads) {
  return layers <= FURTHEST && heads <= FURTHEST && layers * heads <= LARGEST_MAP;
}

// The table of numbers that an event brings under a name.
export function tableOf(item, name) {
  const table = item[name] ?? {};
  if (typeof table !== "object" || Array.isArray(table)) throw new Error(`its ${name} are no table`);
  return table;
}

export function listOf(item, name) {
  return Array.isArray(item[name]) ? item[name] : [];
}

export function wordOf(value) {
  return typeof value === "string" ? value : "";
}

function isAbsent(value) {
  return value === undefined || value === null;
}

function isCount(value) {
  return Number.isInteger(value) && value >= 0 && value <= FURTHEST;
}

function isPair(head) {
  return Array.isArray(head) && head.length === 2 && head.every(isCount);
}
