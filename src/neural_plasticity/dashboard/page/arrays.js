// Arrays as the record's feed carries them: base64 of little-endian numbers, unpacked when they are looked at.

const WIDTHS = { f4: 4, u1: 1 };

// {shape, values} of one packed array; null where its content is not what its shape promises.
export function unpacked(packed) {
  const width = WIDTHS[packed?.type];
  if (!width || !Array.isArray(packed.shape)) return null;
  if (packed.values) return { shape: packed.shape, scale: packed.type === "u1" ? 1 / 255 : 1, values: packed.values };
  const size = packed.shape.reduce((product, length) => product * length, 1);
  const raw = bytesOf(packed.b64);
  if (raw === null || raw.length !== size * width) return null;
  if (packed.type === "u1") return { shape: packed.shape, scale: 1 / 255, values: raw };
  return { shape: packed.shape, scale: 1, values: floatsOf(raw) };
}

// The number at this place, row by row, or NaN outside of the array.
export function at(array, ...place) {
  let index = 0;
  for (let axis = 0; axis < array.shape.length; axis += 1) {
    if (!(place[axis] >= 0 && place[axis] < array.shape[axis])) return NaN;
    index = index * array.shape[axis] + place[axis];
  }
  return array.values[index] * array.scale;
}

function bytesOf(b64) {
  try {
    const letters = atob(b64);
    const raw = new Uint8Array(letters.length);
    for (let place = 0; place < raw.length; place += 1) raw[place] = letters.charCodeAt(place);
    return raw;
  } catch {
    return null; // not base64: the caller shows that the array cannot be read
  }
}

function floatsOf(raw) {
  const view = new DataView(raw.buffer);
  return Float32Array.from({ length: raw.length / 4 }, (_, place) => view.getFloat32(4 * place, true));
}

// The text behind gzip and base64, as the offline report carries what is large.
export async function inflated(b64) {
  return new TextDecoder().decode(await unzipped(b64));
}

export async function unzipped(b64) {
  const raw = bytesOf(b64.trim());
  if (raw === null) throw new Error("The report's compressed part is not base64; it was cut or changed, so make the report again.");
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
