// Requests to the service, and its refusals.

const PATIENCE_MS = 120_000;

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

/** Asks the service with one token. Answers are `{headers, text}`; throws Problem for a refusal. */
export class Connection {
  constructor(token, fetch = globalThis.fetch.bind(globalThis)) {
    Object.assign(this, { token, fetch });
  }

  get(path, signal) {
    return this.ask(path, { signal });
  }

  post(path, body, signal) {
    return this.ask(path, { method: "POST", body: JSON.stringify(body), signal });
  }

  async ask(path, { signal, ...request }) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (request.body) headers["Content-Type"] = "application/json";
    // A connection that died while the device slept would otherwise be waited on for ever.
    const signals = [AbortSignal.timeout(PATIENCE_MS), ...(signal ? [signal] : [])];
    let answer;
    let text;
    try {
      answer = await this.fetch(path, { ...request, headers, signal: AbortSignal.any(signals), cache: "no-store" });
      text = await answer.text();
    } catch (cause) {
      throw new Error("The service does not answer.", { cause });
    }
    if (answer.ok) return { headers: answer.headers, text };
    const seconds = Number(answer.headers.get("Retry-After"));
    throw new Problem(answer.status, documentIn(text), seconds > 0 ? seconds * 1000 : undefined);
  }
}

/** A refusal may come from something in between that knows no problem documents. */
function documentIn(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
