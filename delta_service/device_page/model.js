// What the page shows: rows as a person reads them, by account, with marks for what just arrived, changed or left.

export const MARK_MS = 15_000;

const TITLES = {
  account: (row) => row.accountName,
  contact: (row) => [row.contactFirstName, row.contactLastName].filter(Boolean).join(" "),
  opportunity: (row) => row.opportunityName,
  activity: (row) => row.subject,
  order: (row) => row.orderNumber && `Order ${row.orderNumber}`,
};
const DETAILS = {
  account: (row) => [row.location, row.accountType, row.status],
  contact: (row) => [row.jobTitle, row.contactEmail, row.workPhone],
  opportunity: (row) => [row.salesStage, money(row), row.closeDate && `closes ${row.closeDate}`],
  activity: (row) => [row.activity, row.status, day(row.startTime ?? row.dueDate)],
  order: (row) => [row.orderCreationStatus, day(row.orderCreationDate), row.currencyCode],
};
const collator = new Intl.Collator();

/** Items of the page, kept in step with the device's rows. `now` is milliseconds, for the marks. */
export class Model {
  /** `rows`: object -> Map(id -> {text}). */
  constructor(rows) {
    this.items = new Map(); // object -> Map(id -> item)
    this.hanging = new Map(); // account id -> Set(item)
    this.marked = new Set(); // items with a mark
    this.sorted = null;
    for (const [object, texts] of rows) for (const [id, { text }] of texts) this.put(object, id, text);
  }

  /** Take over a change; without `now` nothing is marked, and what left is gone at once. */
  apply({ inserted, updated, deleted }, now) {
    for (const { object, id, text } of inserted) this.mark(this.put(object, id, text), "arrived", now);
    for (const { object, id, text } of updated) this.mark(this.put(object, id, text), "changed", now);
    for (const { object, id, text } of deleted) {
      if (now === undefined) this.remove(object, id);
      else this.mark(this.put(object, id, text), "left", now);
    }
  }

  /** End marks that are over; true if there were any. */
  expire(now) {
    const over = [...this.marked].filter(({ since }) => since + MARK_MS <= now);
    for (const item of over) {
      this.marked.delete(item);
      if (item.mark === "left") this.remove(item.object, item.id);
      item.mark = item.since = undefined;
    }
    if (over.length) this.sorted = null;
    return over.length > 0;
  }

  /** Accounts that match a search: those with a mark first, then by name. */
  accounts(search = "") {
    this.sorted ??= [...this.of("account").values()].sort(byMarkThenTitle);
    const wanted = search.trim().toLocaleLowerCase();
    return wanted ? this.sorted.filter(({ words }) => words.includes(wanted)) : this.sorted;
  }

  /** What hangs on an account: `[{object, items}]`. */
  children(accountId) {
    return this.groups(this.hanging.get(accountId) ?? []);
  }

  /** Rows whose account is not on this device: contacts that are here through a link. */
  others() {
    const elsewhere = [...this.hanging].filter(([accountId]) => !this.of("account").has(accountId));
    return this.groups(elsewhere.flatMap(([, items]) => [...items]));
  }

  groups(items) {
    // What the page knows comes in its own order, whatever else is served after it.
    const groups = new Map([...Object.keys(TITLES), ...this.items.keys()].map((object) => [object, []]));
    for (const item of items) groups.get(item.object).push(item);
    groups.forEach((group) => group.sort(byMarkThenTitle));
    return [...groups].map(([object, group]) => ({ object, items: group })).filter((group) => group.items.length);
  }

  of(object) {
    if (!this.items.has(object)) this.items.set(object, new Map());
    return this.items.get(object);
  }

  put(object, id, text) {
    this.remove(object, id);
    const item = itemOf(object, id, JSON.parse(text));
    this.of(object).set(id, item);
    if (item.accountId !== undefined) {
      if (!this.hanging.has(item.accountId)) this.hanging.set(item.accountId, new Set());
      this.hanging.get(item.accountId).add(item);
    }
    if (object === "account") this.sorted = null;
    return item;
  }

  mark(item, kind, now) {
    if (now === undefined) return;
    Object.assign(item, { mark: kind, since: now });
    this.marked.add(item);
  }

  remove(object, id) {
    const item = this.of(object).get(id);
    if (!item) return;
    this.of(object).delete(id);
    this.marked.delete(item);
    const siblings = this.hanging.get(item.accountId);
    if (siblings?.delete(item) && !siblings.size) this.hanging.delete(item.accountId);
    if (object === "account") this.sorted = null;
  }
}

function itemOf(object, id, row) {
  const title = TITLES[object]?.(row) || id;
  const details = (DETAILS[object]?.(row) ?? []).filter(Boolean).join(" · ");
  const accountId = object === "account" ? undefined : (row.accountId ?? row.businessAccountId ?? null);
  return { object, id, title, details, accountId, words: `${title} ${details}`.toLocaleLowerCase() };
}

function byMarkThenTitle(a, b) {
  return !a.mark - !b.mark || collator.compare(a.title, b.title) || (a.id < b.id ? -1 : 1);
}

function money({ revenue }) {
  return revenue?.toLocaleString(undefined, { minimumFractionDigits: 2 });
}

function day(time) {
  return time?.slice(0, 10);
}

const WORDS = { inserted: "arrived", updated: "changed", deleted: "left" };

/** One sentence for each kind of change: "9 accounts left, 85 rows with them". */
export function sentences(change) {
  return Object.entries(WORDS).flatMap(([list, word]) => {
    const accounts = change[list].filter(({ object }) => object === "account").length;
    const others = change[list].length - accounts;
    if (!accounts && !others) return [];
    const whole = accounts ? count(accounts, "account") : count(others, "row");
    const rest = accounts && others ? `, ${count(others, "row")} with ${accounts === 1 ? "it" : "them"}` : "";
    return { kind: word, text: `${whole} ${word}${rest}` };
  });
}

/** "a, b and c". */
export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

export function count(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}
