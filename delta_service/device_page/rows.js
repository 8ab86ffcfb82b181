// The rows of a delta with their JSON text exactly as served: versions and digests are made of these very characters,
// which JSON.parse and JSON.stringify would change (1200.50 becomes 1200.5).

/** Yields `{object, list, text}` for each entry of an answer's body, in its order. Throws SyntaxError. */
export function* entriesOf(body) {
  const scan = new Scanner(body);
  for (const object of scan.members()) {
    if (object.startsWith("_")) {
      scan.value();
      continue;
    }
    for (const list of scan.members()) {
      for (const text of scan.items()) yield { object, list, text };
    }
  }
  scan.end();
}

class Scanner {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  *members() {
    this.expect("{");
    if (this.peek() === "}") return void this.at++;
    for (;;) {
      this.peek();
      const key = JSON.parse(this.string());
      this.expect(":");
      yield key;
      if (this.peek() === "}") return void this.at++;
      this.expect(",");
    }
  }

  *items() {
    this.expect("[");
    if (this.peek() === "]") return void this.at++;
    for (;;) {
      yield this.value();
      if (this.peek() === "]") return void this.at++;
      this.expect(",");
    }
  }

  /** The text of whatever value comes next. */
  value() {
    const first = this.peek();
    const start = this.at;
    if (first === '"') return this.string();
    if (first !== "{" && first !== "[") {
      while (this.at < this.text.length && !",]}".includes(this.text[this.at])) this.at++;
      return this.text.slice(start, this.at).trimEnd();
    }
    let depth = 0;
    do {
      const char = this.text[this.at];
      if (char === undefined) throw new SyntaxError("the answer is cut off");
      if (char === '"') {
        this.string();
        continue;
      }
      if (char === "{" || char === "[") depth++;
      if (char === "}" || char === "]") depth--;
      this.at++;
    } while (depth > 0);
    return this.text.slice(start, this.at);
  }

  string() {
    const start = this.at;
    let end = start;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) throw new SyntaxError("the answer is cut off");
    } while (escaped(this.text, end));
    this.at = end + 1;
    return this.text.slice(start, this.at);
  }

  peek() {
    while (this.text.charCodeAt(this.at) <= 32) this.at++;
    return this.text[this.at];
  }

  expect(char) {
    if (this.peek() !== char) throw new SyntaxError(`expected ${char} at ${this.at} of the answer`);
    this.at++;
  }

  end() {
    if (this.peek() !== undefined) throw new SyntaxError("the answer goes on after its end");
  }
}

function escaped(text, quote) {
  let backslashes = 0;
  while (text[quote - 1 - backslashes] === "\\") backslashes++;
  return backslashes % 2 === 1;
}
