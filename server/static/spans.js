// The span of time that a chart shows: pure. Times are Unix milliseconds.
//
// A span is {start, end, length, follows}. One that follows ends now, and moves with the time.

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export const LONGEST_MS = 90 * DAY_MS;
export const SHORTEST_MS = 2 * MINUTE_MS;

/** The spans to choose from; `key` is the key that chooses it. */
export const CHOICES = [
  { key: "1", length: HOUR_MS, name: "1 hour" },
  { key: "2", length: 6 * HOUR_MS, name: "6 hours" },
  { key: "3", length: DAY_MS, name: "1 day" },
  { key: "4", length: 7 * DAY_MS, name: "7 days" },
  { key: "5", length: 30 * DAY_MS, name: "30 days" },
  { key: "6", length: LONGEST_MS, name: "90 days" },
];

/** The span of this length that ends now and goes on doing so. */
export function latest(length, now) {
  const fitting = Math.min(Math.max(length, SHORTEST_MS), LONGEST_MS);
  return { start: now - fitting, end: now, length: fitting, follows: true };
}

/** The span from start to end, cut to what can be shown; it follows if it reaches the present. */
export function between(start, end, now) {
  const length = Math.round(Math.min(Math.max(end - start, SHORTEST_MS), LONGEST_MS));
  const middle = (start + end) / 2;
  const last = Math.round(Math.min(middle + length / 2, now));
  if (last >= now) return latest(length, now);
  return { start: last - length, end: last, length, follows: false };
}

/** The same span, later by this share of its length (earlier if it is negative). */
export function panned(span, share, now) {
  const by = span.length * share;
  return between(span.start + by, span.end + by, now);
}

/** A span `factor` times as long. `at` is the time that stays in its place; by default the end
 * of a span that follows, and the middle of another one. */
export function zoomed(span, factor, now, at = null) {
  if (at === null && span.follows) return latest(span.length * factor, now);
  const fixed = at ?? (span.start + span.end) / 2;
  return between(fixed - (fixed - span.start) * factor, fixed + (span.end - fixed) * factor, now);
}

/** The span as it is at this moment. */
export function moved(span, now) {
  return span.follows ? latest(span.length, now) : span;
}

/** What a page's address says of a span, and the span that an address names. */
export function toQuery(span) {
  if (span.follows) return { last: String(Math.round(span.length / MINUTE_MS)) };
  return { start: String(Math.round(span.start)), end: String(Math.round(span.end)) };
}

export function fromQuery(query, now) {
  const [start, end, last] = ["start", "end", "last"].map((name) => Number(query.get(name)));
  if (query.get("start") && start >= 0 && end > start) return between(start, end, now);
  return latest(last > 0 ? last * MINUTE_MS : DAY_MS, now);
}
