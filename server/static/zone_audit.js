// What people changed at a zone in the span of its chart: for admins.

import { errorWords, getJson } from "./api.js";
import { actionWords, detailWords, isAbout } from "./audit_words.js";
import { element, say } from "./elements.js";
import { timeShort, timeWhole } from "./units.js";

const READ_MAX = 1000;
const SHOWN_MAX = 50;
const part = (id) => document.getElementById(id);

function rowOf(entry) {
  const when = element("time", timeShort(entry.timestamp), {
    datetime: new Date(entry.timestamp).toISOString(), title: timeWhole(entry.timestamp),
  });
  return element("tr", "", {}, [
    element("td", "", {}, [when]),
    element("td", entry.username || entry.address || "–"),
    element("td", `${actionWords(entry.action)}${entry.success ? "" : " (refused)"}`),
    element("td", detailWords(entry.details, ["device_id"])),
  ]);
}

export async function showAudit(deviceId, { start, end, follows }, isStale) {
  const query = new URLSearchParams({ start: Math.round(start), limit: READ_MAX });
  // This clock may be some ms behind the server's: the newest entry must not be left out.
  if (!follows) query.set("end", Math.round(end));
  const answer = await getJson(`/api/audit?${query}`);
  if (isStale()) return;
  if (answer.status !== 200) {
    say(part("audit-message"), errorWords(answer), "error");
    return;
  }
  const { data, has_more: hasMore } = answer.body;
  const about = data.filter((entry) => isAbout(entry, deviceId));
  const words = about.length === 0 ? "Nobody changed anything." : "";
  const rest = hasMore ? ` Only the newest ${READ_MAX} entries of the site were looked at.` : "";
  const cut = about.length > SHOWN_MAX ? ` The newest ${SHOWN_MAX} are shown.` : "";
  say(part("audit-message"), `${words}${cut}${rest}`.trim());
  const head = ["When", "Who", "Did what", "Details"].map((name) =>
    element("th", name, { scope: "col" }));
  part("audit").replaceChildren(
    element("thead", "", {}, [element("tr", "", {}, head)]),
    element("tbody", "", {}, about.slice(0, SHOWN_MAX).map(rowOf)));
  part("audit").hidden = about.length === 0;
}
