// Colours by meaning: one colour and one marker for each state of a head, everywhere; and the scales of maps.

// The same as in the figures of the package: a shape tells what a colour cannot to some eyes, an edge makes it stand out on any ground.
export const MARKS = {
  active: { word: "active", colour: "#332288", edge: "#ffffff", shape: "circle", says: "awake since the beginning" },
  dormant: { word: "dormant", colour: "#8a8a8a", edge: "#000000", shape: "square", says: "pruned; can come back" },
  removed: { word: "removed", colour: "#D55E00", edge: "#000000", shape: "cross", says: "gone for good" },
  revived: { word: "revived", colour: "#56B4E9", edge: "#000000", shape: "triangle", says: "was pruned and came back" },
  grown: { word: "grown", colour: "#F0E442", edge: "#000000", shape: "plus", says: "was not there at first" },
};

export function markOf(state) {
  return (
    (Object.hasOwn(MARKS, state) ? MARKS[state] : null) ?? {
      word: state,
      colour: "#8a8a8a",
      edge: "#000000",
      shape: "square",
      says: "",
    }
  );
}

// Outlines in a square of 12.
export const SHAPES = {
  circle: "M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
  square: "M1.5 1.5h9v9h-9z",
  cross: "M1 3L3 1l3 3l3-3l2 2l-3 3l3 3l-2 2l-3-3l-3 3l-2-2l3-3z",
  triangle: "M6 1L11.3 11H.7z",
  plus: "M4.3 1h3.4v3.3H11v3.4H7.7V11H4.3V7.7H1V4.3h3.3z",
};

const SCALES = {
  viridis: ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6dcd59", "b4de2c", "fde725"],
  cividis: ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838"],
  differences: ["7f3b08", "b35806", "e08214", "fdb863", "f3d9b1", "f7f7f7", "d0cfe2", "b2abd2", "8073ac", "542788", "2d004b"],
};
const TABLES = Object.fromEntries(Object.entries(SCALES).map(([name, stops]) => [name, stops.map(partsOf)]));

function partsOf(hex) {
  return [0, 2, 4].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

// Red, green and blue at a share from 0 to 1 of a scale; what lies outside is drawn as its end.
export function colourAt(share, scale = "viridis") {
  const table = TABLES[scale];
  const place = Math.min(1, Math.max(0, share)) * (table.length - 1);
  const low = Math.min(table.length - 2, Math.floor(place));
  return table[low].map((part, axis) => Math.round(part + (place - low) * (table[low + 1][axis] - part)));
}

export function cssOf([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

// Black or white, whichever is read better on this ground.
export function inkOn(rgb) {
  const light = luminance(rgb);
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000000" : "#ffffff";
}

function luminance(rgb) {
  const [red, green, blue] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// A colour of the page's styles as it is now, light or dark; a canvas cannot read it by its name.
export function inkOf(name) {
  const probe = document.createElement("i");
  probe.style.setProperty("color", `var(${name})`);
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

// Where a number lies between these ends; all alike lie in the middle.
export function shareOf(value, [low, high]) {
  return high > low ? (value - low) / (high - low) : 0.5;
}
