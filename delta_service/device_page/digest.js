// Proof that this device holds what the server says: section 6 of the API's contract.

const encoder = new TextEncoder();
const MODULUS = 1n << 64n;

/** First 16 hex digits of SHA-256 of a row's JSON text exactly as served. */
export async function versionOf(text) {
  return hex((await sha256(text)).subarray(0, 8));
}

/** A row's part in the digest of its object: the first 64 bits of SHA-256 of `object|rowId|version`, as 16 hex digits. */
export async function partOf(object, rowId, text) {
  return hex((await sha256(`${object}|${rowId}|${await versionOf(text)}`)).subarray(0, 8));
}

/** The digest of an object: the sum of its rows' parts modulo 2^64, as 16 hex digits. */
export function sumOf(parts) {
  let total = 0n;
  for (const part of parts) total += BigInt(`0x${part}`);
  return (total % MODULUS).toString(16).padStart(16, "0");
}

async function sha256(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
