// The list of all zones with what people gave them: names, locations, devices.

import { getJson } from "./api.js";

const AT_ONCE = 1000;
// A server that is busy, starts or ends refuses for a moment.
const TRIES = 5;
const RETRY_MS = 2000;

/**
 * Call `take(zone)` for each zone of the account. Resolves to whether these were all zones: false if the
 * server gave no whole answer. Never rejects.
 */
export async function eachZone(take) {
  let next = "";
  do {
    const query = new URLSearchParams({ limit: AT_ONCE, ...(next && { start_after: next }) });
    const { status, body } = await asked(`/api/zones?${query}`);
    if (status !== 200) return false;
    for (const zone of body.zones ?? []) take(zone);
    next = body.next;
  } while (next);
  return true;
}

async function asked(path) {
  for (let tries = 1; ; tries += 1) {
    const answer = await getJson(path);
    if ((answer.status !== 0 && answer.status < 500) || tries === TRIES) return answer;
    await new Promise((later) => setTimeout(later, RETRY_MS));
  }
}
