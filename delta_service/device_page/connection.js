// Requests to the service, and its refusals.

/** A refusal as the service states it. `action` is what it advises, if anything. */
export class Problem extends Error {
  constructor(status, { detail, title, code, action }, retryAfterMs) {
    super(detail ?? title ?? `The service answered ${status}`);
    Object.assign(this, { status, code, action, retryAfterMs });
  }

  get refused() {
    return this.status === 401 || this.status === 403;
  }
}

/** Asks the service with one token. Throws Problem for a refusal, another error when there is no answer in time. */
export class Connection {
  constructor(token, fetch = globalThis.fetch.bind(globalThis)) {
    Object.assign(this, { token, fetch });
  }

  async get(path, options) {
    return this.ask(path, options);
  }

  async post(path, body, options) {
    return this.ask(path, { ...options, method: "POST", body: JSON.stringify(body) });
  }

  async ask(path, { method = "GET", body, signal, patienceMs = 60_000 } = {}) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body) headers["Content-Type"] = "application/json";
    // A connection that died while the device slept would otherwise be waited on for ever.
    const signals = [AbortSignal.timeout(patienceMs), ...(signal ? [signal] : [])];
    const answer = await this.fetch(path, { method, body, headers, signal: AbortSignal.any(signals), cache: "no-store" });
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get("Retry-After"));
    throw new Problem(answer.status, await answer.json().catch(() => ({})), seconds > 0 ? seconds * 1000 : undefined);
  }
}
