// What the page shows: rows of the device with their parents, and marks for what just arrived, changed or left.

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
  opportunity: (row) => [row.salesStage, row.revenue, row.closeDate && `closes ${row.closeDate}`],
  activity: (row) => [row.activity, row.status, (row.startTime ?? row.dueDate ?? "").slice(0, 10)],
  order: (row) => [row.orderCreationStatus, (row.orderCreationDate ?? "").slice(0, 10), row.currencyCode],
};

/** The device's rows as a person sees them. `now` is milliseconds, for the marks. */
export class Model {
  constructor(rows) {
    this.rows = rows; // object -> Map(id -> {text}): the device's own, live
    this.marks = new Map(); // "object|id" -> {kind: arrived|changed|left, until, text}
  }

  mark(change, now) {
    const until = now + MARK_MS;
    const put = (kind) => ({ object, id, text }) => this.marks.set(`${object}|${id}`, { kind, until, text });
    change.inserted.forEach(put("arrived"));
    change.updated.forEach(put("changed"));
    change.deleted.forEach(put("left"));
  }

  /** Forget marks that are over; true if there were any. */
  expire(now) {
    const before = this.marks.size;
    for (const [key, mark] of this.marks) if (mark.until <= now) this.marks.delete(key);
    return this.marks.size < before;
  }

  /** Accounts that match a search: those that came, changed or left a moment ago first, then by name. */
  accounts(search) {
    const wanted = search.trim().toLocaleLowerCase();
    return this.all("account")
      .filter(({ title, details }) => !wanted || `${title} ${details}`.toLocaleLowerCase().includes(wanted))
      .sort((a, b) => !a.mark - !b.mark || a.title.localeCompare(b.title) || (a.id < b.id ? -1 : 1));
  }

  /** What hangs on an account, by object. */
  children(accountId) {
    return this.groups((row) => row.accountId === accountId || row.businessAccountId === accountId);
  }

  /** Rows whose account is not on this device: contacts that are here through a link. */
  others() {
    const accounts = this.rows.get("account") ?? new Map();
    const elsewhere = (id) => !accounts.has(id) && this.marks.get(`account|${id}`)?.kind !== "left";
    return this.groups((row) => elsewhere(row.accountId ?? row.businessAccountId));
  }

  groups(belongs) {
    const objects = [...this.rows.keys()].filter((object) => object !== "account");
    return objects
      .map((object) => ({ object, items: this.all(object).filter(({ row }) => belongs(row)) }))
      .filter(({ items }) => items.length);
  }

  all(object) {
    const items = [...(this.rows.get(object) ?? [])].map(([id, { text }]) => this.item(object, id, text));
    for (const [key, { kind, text }] of this.marks) {
      const [of, id] = key.split("|");
      if (of === object && kind === "left") items.push(this.item(object, id, text));
    }
    return items;
  }

  item(object, id, text) {
    const row = JSON.parse(text);
    return {
      object,
      id,
      row,
      title: TITLES[object]?.(row) || id,
      details: (DETAILS[object]?.(row) ?? []).filter(Boolean).join(" · "),
      mark: this.marks.get(`${object}|${id}`)?.kind,
    };
  }
}

const WORDS = { inserted: "arrived", updated: "changed", deleted: "left" };

/** One sentence for each kind of change: "9 accounts left, 85 rows with them". */
export function sentences(change) {
  return Object.entries(WORDS).flatMap(([list, word]) => {
    const accounts = change[list].filter(({ object }) => object === "account").length;
    const others = change[list].length - accounts;
    if (!accounts && !others) return [];
    const whole = accounts ? count(accounts, "account") : count(others, "row");
    return { kind: word, text: `${whole} ${word}${accounts && others ? `, ${count(others, "row")} with them` : ""}` };
  });
}

export function count(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}
