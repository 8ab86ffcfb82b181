// Drawing. The account list holds only the elements that can be seen, so thousands of accounts stay smooth.

import { count, MARK_MS } from "./model.js";

const ROW_PX = 52;
const SPARE_ROWS = 6;
const LOG_ENTRIES = 40;
const OTHERS = "*";
const PLURALS = { activity: "Activities", opportunity: "Opportunities" };
const MARK_NAMES = { arrived: "just arrived", changed: "just changed", left: "has left" };

const element = (id) => document.getElementById(id);

export class View {
  constructor(model) {
    this.model = model;
    this.chosen = null;
    this.items = [];
    element("search").addEventListener("input", () => this.search());
    element("list").addEventListener("scroll", () => this.drawWindow(), { passive: true });
    element("list").addEventListener("keydown", (event) => this.move(event));
    element("canvas").addEventListener("click", (event) => {
      const id = event.target.closest("[data-id]")?.dataset.id;
      if (id) this.choose(id);
    });
    element("others").addEventListener("click", () => this.choose(OTHERS));
    new ResizeObserver(() => this.drawWindow()).observe(element("list"));
  }

  progress(cursor, asOf) {
    element("cursor").textContent = cursor ? `…${cursor.slice(-6)}` : "–";
    element("cursor").title = cursor ?? "";
    if (asOf) element("as-of").textContent = new Date(asOf).toLocaleTimeString();
  }

  /** Rows here compared with the server's, and whether their digests agree. */
  counts(objects) {
    element("counts").replaceChildren(
      ...objects.map(({ object, here, there, identical: same }) => {
        const name = plural(object);
        const chip = make("li", same ? "same" : "differs", `${name} `, make("b", "", here.toLocaleString()));
        if (here !== there) chip.append(` of ${there.toLocaleString()}`);
        const tick = make("span", "tick", same ? "✓" : "≠");
        tick.setAttribute("aria-hidden", "true");
        chip.append(tick);
        chip.title = same ? "the same rows as on the server" : "not the same rows as on the server";
        return chip;
      }),
    );
  }

  search() {
    element("list").scrollTop = 0;
    this.draw();
  }

  draw() {
    const search = element("search").value;
    this.items = this.model.accounts(search);
    this.others = this.model.others();
    const others = this.others.reduce((sum, { items }) => sum + items.length, 0);
    element("others").hidden = !others;
    element("others").textContent = `Other contacts · ${others.toLocaleString()}`;
    element("found").textContent = search ? `${count(this.items.length, "account")} found` : "";
    element("canvas").style.height = `${this.items.length * ROW_PX}px`;
    if (!this.chosenItem()) this.chosen = this.items[0]?.id ?? this.chosen;
    this.drawWindow();
    this.drawDetail();
  }

  drawWindow() {
    const { scrollTop, clientHeight } = element("list");
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE_ROWS;
    const visible = this.items.slice(first, last);
    element("canvas").replaceChildren(...visible.map((item, offset) => this.accountRow(item, first + offset)));
    const active = visible.some(({ id }) => id === this.chosen) ? `account-${this.chosen}` : "";
    element("list").setAttribute("aria-activedescendant", active);
  }

  accountRow(item, at) {
    const row = marked(make("div", "account", make("b", "", item.title), make("small", "", item.details)), item);
    row.style.transform = `translateY(${at * ROW_PX}px)`;
    row.id = `account-${item.id}`;
    row.dataset.id = item.id;
    row.role = "option";
    row.ariaSelected = item.id === this.chosen;
    row.ariaPosInSet = at + 1;
    row.ariaSetSize = this.items.length;
    return row;
  }

  drawDetail() {
    element("others").ariaPressed = this.chosen === OTHERS;
    const item = this.chosenItem();
    if (!item) {
      element("detail").replaceChildren(make("p", "hint", "No account is chosen."));
      return;
    }
    const groups = item.id === OTHERS ? this.others : this.model.children(item.id);
    element("detail").replaceChildren(
      marked(make("h2", "", item.title), item),
      make("p", "hint", item.details),
      ...groups.flatMap(({ object, items }) => [
        make("h3", "", `${plural(object)} `, make("small", "", items.length.toLocaleString())),
        make("ul", "", ...items.map(childRow)),
      ]),
    );
    if (!groups.length) element("detail").append(make("p", "hint", "Nothing hangs on this account."));
  }

  chosenItem() {
    if (this.chosen !== OTHERS) return this.model.of("account").get(this.chosen);
    const details = "Visible through a link to an account; their own account is elsewhere.";
    return this.others.length ? { id: OTHERS, title: "Other contacts", details } : undefined;
  }

  choose(id) {
    this.chosen = id;
    element("detail").scrollTop = 0;
    this.drawWindow();
    this.drawDetail();
  }

  move(event) {
    const page = Math.max(1, Math.floor(element("list").clientHeight / ROW_PX) - 1);
    const all = this.items.length;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -all, End: all }[event.key];
    if (!step || !all) return;
    event.preventDefault();
    const at = this.items.findIndex(({ id }) => id === this.chosen);
    const next = Math.min(all - 1, Math.max(0, at + step));
    const list = element("list");
    list.scrollTop = Math.min(next * ROW_PX, Math.max(list.scrollTop, (next + 1) * ROW_PX - list.clientHeight));
    this.choose(this.items[next].id);
  }
}

/** How the device is doing: `syncing`, `synced`, `differs`, `waiting` or `refused`, with a few words. */
export function showState(kind, text) {
  document.body.dataset.state = kind;
  element("state").textContent = text;
}

/** Rows are identical to the server's: so far so good, but `doubts` (sentences) say that the server may be outdated. */
export function showSynced(doubts) {
  showState("synced", doubts.length ? "identical · may be outdated" : "✓ identical to the server");
}

/** Returns whether they are others than before: their ages change once a minute at most. */
export function showDoubts(doubts) {
  const shown = [...element("doubts").children].map(({ textContent }) => textContent);
  if (shown.join() === doubts.join()) return false;
  document.body.dataset.outdated = doubts.length > 0;
  element("doubts").hidden = !doubts.length;
  element("doubts").replaceChildren(...doubts.map((doubt) => make("li", "", doubt)));
  return true;
}

/** Newest first; `kind` is arrived, changed, left, info or problem. */
export function log(kind, text) {
  element("log").prepend(make("li", kind, make("time", "", new Date().toLocaleTimeString()), text));
  while (element("log").childElementCount > LOG_ENTRIES) element("log").lastElementChild.remove();
}

function childRow(item) {
  return marked(make("li", "", make("b", "", item.title), make("small", "", item.details)), item);
}

/** In the colour of its mark; an element that is drawn again fades on from where it was. */
function marked(made, { mark, since }) {
  if (!mark) return made;
  made.classList.add(mark);
  made.title = MARK_NAMES[mark];
  made.style.animationDuration = `${MARK_MS}ms`;
  made.style.animationDelay = `${since - Date.now()}ms`;
  return made;
}

function plural(object) {
  return PLURALS[object] ?? `${object[0].toUpperCase()}${object.slice(1)}s`;
}

function make(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}
