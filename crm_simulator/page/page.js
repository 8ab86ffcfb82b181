// The control page: shows the summary every two seconds and sends changes to the control API.

const EDITABLE = {
  Account: ["AccountName", "Location", "Status", "Priority", "MainPhone", "Route", "TerritoryId"],
  Contact: ["ContactFirstName", "ContactLastName", "ContactEmail", "JobTitle", "WorkPhone"],
  Opportunity: ["OpportunityName", "SalesStage", "Status", "Revenue", "CloseDate"],
  Activity: ["Subject", "Status", "Priority", "StartTime", "DueDate"],
  Order: ["OrderNumber", "OrderCreationStatus"],
  Territory: ["TerritoryName", "Description"],
};
const REFRESH_MS = 2000;
const number = new Intl.NumberFormat("en");
const count = (amount, noun) => `${number.format(amount)} ${noun}${amount === 1 ? "" : "s"}`;
const byId = (id) => document.getElementById(id);

// ---- building blocks

function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...content);
  return made;
}

let toastTimer;
function toast(text, bad = false) {
  const place = byId("toast");
  place.textContent = text;
  place.className = bad ? "shown bad" : "shown";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (place.className = ""), bad ? 6000 : 3500);
}

async function ask(path, body) {
  const options = body && { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(`/control/${path}`, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function change(path, body) {
  try {
    const result = await ask(path, body);
    const rows = Object.values(result.touched).reduce((sum, ids) => sum + ids.length, 0);
    toast(`${result.action}: ${count(rows, "row")}, ${count(result.events, "event")}`);
    await Promise.all([refresh(), search()]);
    return result;
  } catch (error) {
    toast(error.message, true);
    return null;
  }
}

// ---- summary

let shownCounts = new Map();
let territories = [];

async function refresh() {
  const summary = await ask("summary");
  territories = summary.territories;
  showFigures(summary);
  showTerritories(summary.territories);
  showActions(summary.actions);
}

function showFigures(summary) {
  const figures = {
    "Server time (UTC)": summary.server_time.slice(0, 19).replace("T", " "),
    Accounts: number.format(summary.objects.Account),
    Contacts: number.format(summary.objects.Contact),
    Events: number.format(summary.objects.ModificationTracking),
    "Deleted items": number.format(summary.deleted_items),
    "Operations spent": number.format(summary.operations),
  };
  byId("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

function showTerritories(rows) {
  const patches = rows.filter((row) => row.parent !== null || row.accounts > 0);
  const most = Math.max(1, ...patches.map((row) => row.accounts));
  const body = byId("territories");
  const known = new Map([...body.children].map((line) => [line.dataset.id, line]));
  const lines = patches.map((row) => {
    const key = JSON.stringify(row) + most;
    const shown = known.get(row.id);
    if (shown && shownCounts.get(row.id)?.key === key) return shown;
    const changed = shownCounts.has(row.id) && shownCounts.get(row.id).accounts !== row.accounts;
    shownCounts.set(row.id, { key, accounts: row.accounts });
    const bar = element("i", { style: `width:${(70 * row.accounts) / most}%` });
    return element(
      "tr",
      { "data-id": row.id, class: changed ? "changed" : null },
      element("td", {}, element("strong", {}, row.name)),
      element("td", { class: "patch", title: row.description }, row.description ?? ""),
      element("td", { class: "bar" }, element("div", {}, bar, number.format(row.accounts))),
      ...["contacts", "opportunities", "activities", "orders"].map((name) => element("td", {}, number.format(row[name]))),
    );
  });
  if (lines.length !== body.children.length || lines.some((line, index) => line !== body.children[index])) {
    body.replaceChildren(...lines);
  }
  fillChoices(patches);
}

function territoryOptions(rows) {
  return rows.map((row) => element("option", { value: row.id }, `${row.name} ${row.description ?? ""}`));
}

function fillChoices(patches) {
  const signature = patches.map((row) => row.id + row.name).join();
  const form = byId("realign");
  if (form.dataset.signature === signature) return;
  form.dataset.signature = signature;
  for (const [name, preferred] of [["from", 3], ["to", 6]]) {
    form.elements[name].replaceChildren(...territoryOptions(patches));
    form.elements[name].selectedIndex = Math.min(preferred, patches.length - 1);
  }
}

function showActions(actions) {
  const list = byId("actions");
  const signature = JSON.stringify(actions);
  if (list.dataset.signature === signature) return;
  list.dataset.signature = signature;
  if (!actions.length) {
    list.replaceChildren(element("p", { class: "empty" }, "Nothing was changed yet."));
    return;
  }
  list.replaceChildren(
    ...actions.map((action) =>
      element(
        "li",
        {},
        element("time", { title: action.at }, action.at.slice(11, 19)),
        element("span", {}, action.text),
        element("small", {}, `${count(action.rows, "row")}, `, element("b", {}, count(action.events, "event"))),
      ),
    ),
  );
}

byId("realign").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  await change("realign", {
    from: form.elements.from.value,
    to: form.elements.to.value,
    share: Number(form.elements.share.value) / 100,
    seed: Math.floor(Math.random() * 1e9),
    events: form.elements.events.checked,
  });
  button.disabled = false;
});

// ---- one record

let picked = null;

async function find(objectName, text) {
  return ask(`search?${new URLSearchParams({ object: objectName, text })}`);
}

async function search() {
  const objectName = byId("object").value;
  const rows = await find(objectName, byId("search").value.trim());
  byId("found").replaceChildren(
    ...(rows.length ? rows.map((row) => foundLine(objectName, row)) : [element("p", { class: "empty" }, "Nothing found.")]),
  );
  if (picked) {
    const [again] = await find(picked.object, picked.id);
    if (again) await showRecord(picked.object, again);
  }
}

function foundLine(objectName, row) {
  const pick = () => showRecord(objectName, row);
  const classes = [row.deleted && "deleted", picked?.id === row.id && "picked"].filter(Boolean).join(" ");
  return element(
    "li",
    {},
    element("button", { onclick: pick, class: classes, "data-id": row.id }, element("span", {}, row.label), element("small", {}, row.id)),
  );
}

async function showRecord(objectName, row) {
  picked = { object: objectName, id: row.id };
  for (const button of byId("found").querySelectorAll("button")) {
    button.classList.toggle("picked", button.dataset.id === row.id);
  }
  const title = element("h3", {}, row.label || "(no name)", element("small", {}, row.deleted ? `${row.id}, deleted` : row.id));
  if (row.deleted) {
    const restore = () => change("restore", { object: objectName, id: row.id });
    byId("record").replaceChildren(title, element("div", { class: "buttons" }, element("button", { class: "primary", onclick: restore }, "Restore")));
    return;
  }
  const parts = [title, editForm(objectName, row)];
  if (objectName === "Contact") parts.push(await links(row));
  if (objectName === "Account" || objectName === "Contact") parts.push(mergeTool(objectName, row));
  byId("record").replaceChildren(...parts);
}

function editForm(objectName, row) {
  const fields = element("div", { class: "fields" });
  for (const name of EDITABLE[objectName]) {
    const value = row.fields[name] ?? "";
    const input =
      name === "TerritoryId"
        ? element("select", { id: name, name }, element("option", { value: "" }, "(none)"), ...territoryOptions(territories))
        : element("input", { id: name, name, value });
    input.value = value;
    fields.append(element("label", { for: name, title: name }, fieldLabel(objectName, name)), input);
  }
  const events = element("input", { type: "checkbox", name: "events", checked: true });
  const remove = () =>
    change("delete", { object: objectName, id: row.id, events: events.checked ? "both" : "none" });
  const save = (event) => {
    event.preventDefault();
    const changed = {};
    for (const input of fields.querySelectorAll("input, select")) {
      if (input.value !== (row.fields[input.name] ?? "")) changed[input.name] = input.value || null;
    }
    if (Object.keys(changed).length) change("update", { object: objectName, id: row.id, fields: changed, events: events.checked });
    else toast("Nothing was changed in the form.");
  };
  return element(
    "form",
    { onsubmit: save, style: "display:grid;gap:12px" },
    fields,
    element(
      "div",
      { class: "buttons" },
      element("button", { class: "primary" }, "Save"),
      element("button", { type: "button", class: "danger", onclick: remove }, "Delete"),
      element("label", { class: "check" }, events, "with events"),
    ),
  );
}

// "ContactFirstName" of a contact reads "First name", "TerritoryId" reads "Territory".
function fieldLabel(objectName, name) {
  const short = name.replace(new RegExp(`^${objectName}(?=[A-Z])`), "").replace(/Id$/, "");
  const words = short.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return words[0].toUpperCase() + words.slice(1);
}

async function links(row) {
  const accounts = await Promise.all(row.accounts.map(async (id) => (await find("Account", id))[0]));
  const chips = accounts.map((account) =>
    element(
      "span",
      {},
      element("b", { title: account.label }, account.label + (account.id === row.fields.AccountId ? " (primary)" : "")),
      element("button", { title: "Unlink", onclick: () => change("unlink", { contact: row.id, account: account.id }) }, "×"),
    ),
  );
  return element(
    "div",
    { class: "tool" },
    element("label", {}, "Linked to"), element("div", { class: "chips" }, ...(chips.length ? chips : ["no account"])), element("span"),
    ...chooser("Account", "Link", (account) => change("link", { contact: row.id, account }), []),
  );
}

function mergeTool(objectName, row) {
  const merge = (duplicate) => change("merge", { object: objectName, survivor: row.id, duplicate });
  return element("div", { class: "tool" }, ...chooser(objectName, "Merge in", merge, [row.id]));
}

function chooser(objectName, verb, act, without) {
  const list = element("datalist", { id: `choices-${verb.replace(" ", "-")}` });
  const input = element("input", { list: list.id, placeholder: `${objectName} to ${verb === "Link" ? "link to" : "merge in"}`, autocomplete: "off" });
  input.addEventListener("input", async () => {
    const rows = (await find(objectName, input.value.trim())).filter((row) => !row.deleted && !without.includes(row.id));
    list.replaceChildren(...rows.map((row) => element("option", { value: row.id }, row.label)));
  });
  const go = () => (input.value.trim() ? act(input.value.trim()) : input.focus());
  return [element("label", {}, verb), element("span", { class: "row" }, input, list), element("button", { onclick: go }, verb)];
}

let searchTimer;
byId("search").addEventListener("input", () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(search, 150);
});
byId("object").addEventListener("change", () => {
  picked = null;
  byId("record").replaceChildren();
  search();
});

async function keepFresh() {
  try {
    if (!document.hidden) await refresh();
  } catch {
    toast("The simulator does not answer.", true);
  }
  setTimeout(keepFresh, REFRESH_MS);
}

keepFresh().then(search);
