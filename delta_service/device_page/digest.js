// Versions, digests and buckets of rows: section 6 of the API's contract.

const encoder = new TextEncoder();

/** First 16 hex digits of SHA-256 of a row's JSON text exactly as served. */
export async function versionOf(text) {
  return hex((await sha256(text)).subarray(0, 8));
}

/** A row's part in the digest of its object: the first 64 bits of SHA-256 of `object|rowId|version`, as 16 hex digits. */
export async function partOf(object, rowId, text) {
  return hex((await sha256(`${object}|${rowId}|${await versionOf(text)}`)).subarray(0, 8));
}

/** A row's place among 256: the first byte of SHA-256 of its id. */
export async function bucketOf(rowId) {
  return (await sha256(rowId))[0];
}

async function sha256(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
