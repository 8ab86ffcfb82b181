// Drawing. The account list holds only the elements that can be seen, so thousands of accounts stay smooth.

import { count } from "./model.js";

const ROW_PX = 52;
const SPARE_ROWS = 6;
const LOG_ENTRIES = 40;
const OTHERS = "*";
const PLURALS = { activity: "Activities", opportunity: "Opportunities" };

const element = (id) => document.getElementById(id);

export class View {
  constructor(model) {
    this.model = model;
    this.chosen = null;
    this.items = [];
    element("search").addEventListener("input", () => this.draw());
    element("list").addEventListener("scroll", () => this.drawWindow(), { passive: true });
    element("list").addEventListener("keydown", (event) => this.move(event));
    element("canvas").addEventListener("click", (event) => {
      const id = event.target.closest("[data-id]")?.dataset.id;
      if (id) this.choose(id);
    });
    new ResizeObserver(() => this.drawWindow()).observe(element("list"));
  }

  state(kind, text) {
    document.body.dataset.state = kind;
    element("state").textContent = text;
  }

  progress(cursor, asOf) {
    element("cursor").textContent = cursor ? `…${cursor.slice(-6)}` : "–";
    element("cursor").title = cursor ?? "";
    if (asOf) element("as-of").textContent = new Date(asOf).toLocaleTimeString();
  }

  counts(objects) {
    element("counts").replaceChildren(
      ...objects.map(({ object, here, there, identical }) => {
        const note = identical ? "identical to the server" : `differs: the server has ${there}`;
        const chip = make("li", identical ? "same" : "differs", `${plural(object)} `, make("b", "", here.toLocaleString()));
        chip.append(make("span", "tick", identical ? "✓" : "≠"));
        chip.title = note;
        chip.setAttribute("aria-label", `${plural(object)} ${here}, ${note}`);
        return chip;
      }),
    );
  }

  log(entries) {
    const time = new Date().toLocaleTimeString();
    for (const { kind, text } of entries) {
      element("log").prepend(make("li", kind, make("time", "", time), text));
    }
    while (element("log").childElementCount > LOG_ENTRIES) element("log").lastElementChild.remove();
  }

  draw() {
    this.items = this.model.accounts(element("search").value);
    const others = this.model.others().reduce((sum, { items }) => sum + items.length, 0);
    if (others && !element("search").value) {
      this.items.push({ id: OTHERS, title: "Other contacts", details: `${count(others, "row")} here through a link` });
    }
    this.chosen ??= this.items[0]?.id ?? null;
    element("canvas").style.height = `${this.items.length * ROW_PX}px`;
    this.drawWindow();
    this.drawDetail();
  }

  drawWindow() {
    const { scrollTop, clientHeight } = element("list");
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE_ROWS;
    element("canvas").replaceChildren(
      ...this.items.slice(first, last).map((item, offset) => {
        const row = make("div", `account ${item.mark ?? ""}`, make("b", "", item.title), make("small", "", item.details));
        row.style.transform = `translateY(${(first + offset) * ROW_PX}px)`;
        row.dataset.id = item.id;
        row.setAttribute("role", "listitem");
        row.classList.toggle("chosen", item.id === this.chosen);
        return row;
      }),
    );
  }

  drawDetail() {
    const item = this.items.find(({ id }) => id === this.chosen);
    if (!item) {
      element("detail").replaceChildren(make("p", "hint", "Choose an account."));
      return;
    }
    const groups = item.id === OTHERS ? this.model.others() : this.model.children(item.id);
    element("detail").replaceChildren(
      make("h2", item.mark ?? "", item.title),
      make("p", "hint", item.details),
      ...groups.flatMap(({ object, items }) => [
        make("h3", "", `${plural(object)} `, make("small", "", items.length)),
        make("ul", "", ...items.map(childRow)),
      ]),
    );
  }

  choose(id) {
    this.chosen = id;
    this.drawWindow();
    this.drawDetail();
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.items.length) return;
    event.preventDefault();
    const at = this.items.findIndex(({ id }) => id === this.chosen);
    const next = Math.min(this.items.length - 1, Math.max(0, at + step));
    const list = element("list");
    list.scrollTop = Math.min(next * ROW_PX, Math.max(list.scrollTop, (next + 1) * ROW_PX - list.clientHeight));
    this.choose(this.items[next].id);
  }
}

function childRow(item) {
  return make("li", item.mark ?? "", make("b", "", item.title), make("small", "", item.details));
}

function plural(object) {
  return PLURALS[object] ?? `${object[0].toUpperCase()}${object.slice(1)}s`;
}

function make(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className.trim()) made.className = className.trim();
  made.append(...content);
  return made;
}
