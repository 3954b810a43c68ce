// A series of numbers over steps that never grows beyond its room: neighbours are merged, and the extremes of what was merged stay.

const ROOM = 600; // pairs of extremes; twice as many points at most

export function emptySeries() {
  return { width: 1, count: 0, last: null, buckets: [] };
}

// The series with one more point. What is given is used up: only what comes back may be read on.
export function appended(series, x, y, seq) {
  const point = { x, y, seq };
  const bucket = series.buckets.at(-1);
  series.count += 1;
  series.last = point;
  if (bucket && bucket.held < series.width) {
    bucket.held += 1;
    widen(bucket, point);
  } else {
    const fresh = { held: 1, low: null, high: null, broken: null };
    widen(fresh, point);
    series.buckets.push(fresh);
  }
  if (series.buckets.length > 2 * ROOM) halve(series);
  return series;
}

// The points to draw, in order of steps: every one of a short series, both extremes of each stretch of a long one, and the last.
export function pointsOf(series) {
  const points = [];
  for (const { low, high, broken } of series.buckets) {
    points.push(...[...new Set([low, high, broken])].filter(Boolean).sort((one, other) => one.x - other.x || one.seq - other.seq));
  }
  if (series.last && points.at(-1) !== series.last) points.push(series.last);
  return points;
}

// What is not finite is kept beside the extremes: a curve that broke must not look whole.
function widen(bucket, point) {
  if (!point) return;
  if (!Number.isFinite(point.y)) {
    bucket.broken = point;
    return;
  }
  if (!bucket.low || point.y < bucket.low.y) bucket.low = point;
  if (!bucket.high || point.y > bucket.high.y) bucket.high = point;
}

function halve(series) {
  const merged = [];
  for (let place = 0; place < series.buckets.length; place += 2) {
    const one = series.buckets[place];
    const other = series.buckets[place + 1];
    if (other) {
      for (const point of [other.low, other.high, other.broken]) widen(one, point);
      one.held += other.held;
    }
    merged.push(one);
  }
  series.buckets = merged;
  series.width *= 2;
}

// Means over a window around each point, narrower towards the ends so that these do not lag behind.
export function smoothed(points, window = 20) {
  const known = points.filter((point) => Number.isFinite(point.y));
  const sums = [0];
  for (const point of known) sums.push(sums.at(-1) + point.y);
  return known.map((point, place) => {
    const reach = Math.min(window >> 1, place, known.length - 1 - place);
    return { x: point.x, y: (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1) };
  });
}
