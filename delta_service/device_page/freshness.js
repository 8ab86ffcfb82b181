// How current the server's own copy of the CRM is, by what it says itself: "identical to the server" proves no more.

import { list } from "./model.js";

// The pipeline confirms with each poll that it has read the CRM. One that is late now and then is no news.
const MISSED_POLLS = 5;
const LEAST_BEHIND_MS = 120_000;
const UNITS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000]];

/**
 * What an answer says. Ages are by the server's clock, so a device whose clock is wrong is not misled; `heardAt`
 * is when the answer came, for how much time has passed since.
 */
export function freshnessOf(headers, heardAt = Date.now()) {
  const now = Date.parse(headers.get("Date") ?? "") || heardAt;
  const age = (name) => now - Date.parse(headers.get(name) ?? "");
  const held = (headers.get("Sync-Held") ?? "").split(",").filter(Boolean);
  return {
    heardAt,
    held: held.map((part) => part.trim().split("=")).map(([object, rows]) => [object, Number(rows)]),
    heldMs: age("Sync-Held-Since"),
    asOfMs: age("Sync-As-Of"),
    pollMs: Number(headers.get("Sync-Next-Expected") ?? 0) * 1000,
  };
}

/** Sentences that say why what is shown may be outdated; none while it is not. */
export function doubtsOf({ heardAt, held, heldMs, asOfMs, pollMs }, now = Date.now()) {
  const since = Math.max(0, now - heardAt);
  const doubts = [];
  if (held.length) {
    const rows = list(held.map(([object, rows]) => `${rows.toLocaleString()} ${object}`));
    const one = held.length === 1 && held[0][1] === 1;
    const what = one ? `${rows} row has` : `${rows} rows have`;
    const long = Number.isNaN(heldMs) ? "" : ` for ${ageInWords(heldMs + since)}`;
    doubts.push(`${what} been held back${long}; what you see may be outdated.`);
  }
  if (asOfMs + since > Math.max(LEAST_BEHIND_MS, MISSED_POLLS * pollMs)) {
    doubts.push(`The server last read the CRM ${ageInWords(asOfMs + since)} ago.`);
  }
  return doubts;
}

/** "3 hours"; rounded down, as people say it. */
export function ageInWords(ms) {
  for (const [unit, length] of UNITS) {
    const number = Math.floor(ms / length);
    if (number >= 1) return `${number.toLocaleString()} ${unit}${number === 1 ? "" : "s"}`;
  }
  return "less than a minute";
}
