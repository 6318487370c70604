// Notes the condition of each zone, and finds what changed since it was asked last; pure.

import { condition } from "./zone_words.js";

export class Board {
  #seen = new Map(); // device id: {now, cooling, title, location}

  /** The condition of a zone as it was noted. */
  of(zone) {
    return this.#seen.get(zone.deviceId)?.now ?? condition(zone);
  }

  /**
   * Look at the zones with these ids; null looks at all. Returns {changed, switched, renamed, started}:
   * whether a condition changed, whether a cooler did, whether zones came, went or have other names, and
   * the zones whose condition changed since they came.
   */
  update(zones, ids) {
    const found = { changed: false, switched: false, renamed: false, started: [] };
    for (const id of ids ?? this.#seen.keys()) {
      if (zones.get(id) === undefined && this.#seen.delete(id)) found.renamed = true;
    }
    const looked = ids === null ? zones : [...ids].map((id) => zones.get(id)).filter(Boolean);
    for (const zone of looked) this.#note(zone, found);
    found.changed ||= found.renamed;
    return found;
  }

  #note(zone, found) {
    const { deviceId, title, location, cool_active: cooling } = zone;
    const now = condition(zone);
    const before = this.#seen.get(deviceId);
    if (before === undefined || before.title !== title || before.location !== location) {
      found.renamed = true;
    } else if (before.now === now && before.cooling === cooling) {
      return;
    }
    found.switched ||= before?.cooling !== cooling;
    found.changed ||= before?.now !== now;
    if (before !== undefined && before.now !== now) found.started.push(zone);
    this.#seen.set(deviceId, { now, cooling, title, location });
  }
}
