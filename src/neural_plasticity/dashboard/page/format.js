// Numbers and texts as the page shows them: the only place that turns a value of the record into letters.

const NOT_FINITE = { NaN, Infinity: Infinity, "-Infinity": -Infinity };
const LONGEST = 20000; // letters of one text that are kept and shown; the record has the rest

// A number of the record as a number: what is not finite stands there as a text.
export function numberOf(value) {
  if (typeof value === "number") return value;
  return typeof value === "string" && value in NOT_FINITE ? NOT_FINITE[value] : NaN;
}

// A number in letters, with four digits that count: 7,916 · 2.887 · 1.98 M · 0.0003 · 7.92 MB · 12 %.
export function told(value, unit = "") {
  if (typeof value !== "number") return told(numberOf(value), unit);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (unit === "share") return `${sign}${digits(100 * size, 3)} %`;
  if (unit === "percent") return `${sign}${digits(size, 3)} %`;
  if (unit === "ratio") return `${sign}${digits(size, 4)}×`;
  if (unit === "shade") return sign + shade(size);
  if (unit === "cell") return `${sign}${digits(size, 3)}`;
  if (unit === "bytes") return sign + scaled(size, 1000, ["B", "kB", "MB", "GB", "TB"]);
  if (unit === "count") return sign + (size < 1e6 ? digits(size, 6) : scaled(size, 1000, ["", "k", "M", "G", "T"]));
  return sign + digits(size, 4) + (unit ? ` ${unit}` : "");
}

// The same with its sign always shown, for differences.
export function signed(value, unit = "") {
  return value > 0 && Number.isFinite(value) ? `+${told(value, unit)}` : told(value, unit);
}

function digits(size, count) {
  if (size === 0) return "0";
  if (Number.isInteger(size) && size < 1e7) return written(size, 0);
  if (size < 1e-4 || size >= 1e7)
    return size
      .toExponential(count - 1)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  const places = Math.max(0, count - 1 - Math.floor(Math.log10(size)));
  return written(size, places);
}

// What was kept as one of 256 shades: two places, and none of the ends is claimed.
function shade(size) {
  if (size < 0.005) return "< 0.01";
  return size > 0.995 ? "> 0.99" : size.toFixed(2);
}

const writers = []; // by how many places: making one costs more than a thousand numbers

function written(size, places) {
  writers[places] ??= new Intl.NumberFormat("en-US", { maximumFractionDigits: places });
  return writers[places].format(size);
}

function scaled(size, step, names) {
  let place = 0;
  let left = size;
  while (left >= step && place < names.length - 1) {
    left /= step;
    place += 1;
  }
  return `${digits(left, 4)} ${names[place]}`.trimEnd();
}

export function timeOf(seconds) {
  return new Date(1000 * seconds).toLocaleTimeString("en-GB");
}

export function dateOf(seconds) {
  return new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
}

export function lasting(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 60) return `${digits(seconds, 2)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Letters that steer a terminal, or turn the direction of writing, made visible and harmless.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const TURNING = /[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const HALVES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

export function harmless(text, most = LONGEST) {
  const whole = typeof text === "object" ? JSON.stringify(text) : String(text);
  const kept = whole.length > most ? whole.slice(0, most) : whole;
  const clean = kept
    .replace(CONTROLS, (letter) =>
      letter === "\r" ? "␍" : letter < " " ? String.fromCharCode(0x2400 + letter.charCodeAt(0)) : "␡",
    )
    .replace(TURNING, (letter) => `⟨U+${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    .replace(HALVES, "\ufffd");
  const left = whole.length - kept.length;
  return left ? `${clean}… (${left.toLocaleString("en-US")} more characters in the record)` : clean;
}

// A token as it can be told from its neighbours: blanks and line ends have a sign.
export function tokenShown(token) {
  return harmless(token, 40).replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";
}

// One cell of CSV; a text that a spreadsheet would run as a formula is made a text.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number")
    return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const text = harmless(value, 2000);
  const safe = /^[=+\-@\t]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvOf(columns, rows) {
  return [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
}
