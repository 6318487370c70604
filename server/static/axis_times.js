// The words below a chart's axis of time: as the person's locale writes them, in the site's zone.

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/**
 * A function that makes the labels of the times `splits` (Unix ms), which are `step` ms apart. A
 * label has the time of day or the day; the first one of each day has the day in a second line.
 */
export function axisTimes(timeZone, locale) {
  const zone = timeZone ? { timeZone } : {};
  const format = (options) => new Intl.DateTimeFormat(locale, { ...zone, ...options });
  const day = format({ day: "numeric", month: "short" });
  const minutes = format({ hour: "numeric", minute: "2-digit" });
  const seconds = format({ hour: "numeric", minute: "2-digit", second: "2-digit" });
  const year = format({ year: "numeric" });
  return (splits, step) => {
    const [main, extra] = step >= DAY_MS
      ? [day, year]
      : [step >= MINUTE_MS ? minutes : seconds, day];
    let before = null;
    return splits.map((time) => {
      const second = extra.format(time);
      const isNew = second !== before;
      before = second;
      return isNew ? `${main.format(time)}\n${second}` : main.format(time);
    });
  };
}
