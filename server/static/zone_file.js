// Zones out and in as a CSV file: a dry run shows what would change before anything does.

import { call } from "./admin_frame.js";
import { valueWords } from "./audit_words.js";
import { confirmed } from "./dialogs.js";
import { element } from "./elements.js";
import { below } from "./root.js";

const SHOWN_MAX = 20;

function lineWords({ line, device_id: id, changes, error }) {
  const what = error ?? Object.entries(changes)
    .map(([name, one]) => `${name.replace("_tenths", "")} ${valueWords(name, one.old)} → ${valueWords(name, one.new)}`)
    .join(", ");
  return `Line ${line}, ${id}: ${what}`;
}

/** What a file would do, in sentences. */
export function resultWords({ changed, unchanged, refused, lines }) {
  const shown = lines.slice(0, SHOWN_MAX).map(lineWords);
  if (lines.length > SHOWN_MAX) shown.push(`… and ${lines.length - SHOWN_MAX} more lines`);
  const sums = `Zones that change: ${changed}; that stay as they are: ${unchanged}. Lines that are refused: ${refused}.`;
  return [sums, ...shown].join("\n");
}

async function take(file, again) {
  const csv = await file.text();
  const would = await call("POST", "/api/zones.csv?dry_run=true", { csv });
  const words = resultWords(would);
  if (would.refused > 0) {
    await confirmed("Nothing was changed", `${words}\nCorrect the file and choose it again.`, "Close");
  } else if (await confirmed("Change zones by this file?", words, "Change them")) {
    const done = await call("POST", "/api/zones.csv", { csv });
    const left = done.left ? ` ${done.left} are left: choose the file once more.` : "";
    await again(`${done.changed} zones are changed.${left}`);
  }
}

/** A link for the file, and a button that takes one; `again` shows the list again. */
export function fileButtons(button, again) {
  const input = element("input", "", {
    type: "file", accept: ".csv,text/csv", hidden: "", "aria-label": "CSV file of zones",
  });
  const choose = button("Import CSV", async () => {
    const chosen = new Promise((resolve) => {
      input.onchange = () => resolve(input.files[0]);
      input.oncancel = () => resolve(null);
    });
    input.value = "";
    input.click();
    const file = await chosen;
    if (file) await take(file, again());
  });
  const link = element("a", "Export CSV", { href: below("/api/zones.csv"), download: "zones.csv" });
  return [link, input, choose];
}
