// Repair at the cost of the difference: section 6 of the API's contract.

import { bucketOf, versionOf } from "./digest.js";

const BUCKETS = 256;
const MASK = (1n << 64n) - 1n;

/** First round: the digests of each object's 256 buckets. `rows` is object -> Map(id -> {text, part}). */
export async function comparison(rows, objects) {
  const buckets = {};
  for (const object of objects) {
    const sums = Array(BUCKETS).fill(0n);
    const held = [...(rows.get(object) ?? [])];
    const places = await Promise.all(held.map(([id]) => bucketOf(id)));
    held.forEach(([, { part }], at) => (sums[places[at]] += BigInt(`0x${part}`)));
    buckets[object] = sums.map((sum) => (sum & MASK).toString(16).padStart(16, "0"));
  }
  return { buckets };
}

/** Second round: versions of all rows in the buckets that differ, made of their texts. `compared` is the first answer. */
export async function versionsAsked(rows, { cursor, differing }) {
  const versions = {};
  for (const [object, buckets] of Object.entries(differing)) {
    const wanted = new Set(buckets);
    const held = await Promise.all(
      [...(rows.get(object) ?? [])].map(async ([id, { text }]) =>
        wanted.has(await bucketOf(id)) ? [id, await versionOf(text)] : null,
      ),
    );
    versions[object] = Object.fromEntries(held.filter(Boolean));
  }
  return { cursor, differing, versions };
}
