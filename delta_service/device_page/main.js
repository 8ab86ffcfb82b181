// Wires a territory's device to the page.

import { Database } from "./database.js";
import { Model, sentences, count } from "./model.js";
import { Device, Problem } from "./sync.js";
import { View } from "./view.js";

const TICK_MS = 1000;
const TOKEN = "territory-delta/token";

const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.has("token")) {
  sessionStorage.setItem(TOKEN, fragment.get("token"));
  history.replaceState(null, "", location.pathname + location.search);
}

start();

async function start() {
  const token = sessionStorage.getItem(TOKEN);
  let territories;
  try {
    territories = await listTerritories(token);
  } catch (error) {
    if (error.status === 401) return askForToken();
    document.getElementById("state").textContent = `${error.message} – trying again`;
    return void setTimeout(start, 2000);
  }
  const asked = new URLSearchParams(location.search).get("territory");
  const territory = territories.find(({ id, name }) => [id, name].includes(asked)) ?? territories[0];
  if (!territory) {
    document.getElementById("state").textContent = "the token names no territory";
    return;
  }
  fillPicker(territories, territory);
  document.title = `${territory.name ?? territory.id} – device`;
  await runDevice(territory, token);
}

async function listTerritories(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("/v1/territories", { headers, cache: "no-store" });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body);
  return body.territories
    .filter(({ counts }) => Object.values(counts).some(Boolean))
    .sort((a, b) => (a.name ?? a.id).localeCompare(b.name ?? b.id));
}

async function runDevice(territory, token) {
  const database = await Database.open(territory.id);
  let model;
  let view;
  const device = new Device({ territory: territory.id, token, database, tell: (event) => hear[event.kind](event) });
  const hear = {
    loaded({ rows, cursor }) {
      model = new Model(rows);
      view = new View(model);
      view.progress(cursor);
      view.state("syncing", cursor ? "catching up" : "first sync");
      view.draw();
    },
    applied({ change, first, cursor, asOf }) {
      view.progress(cursor, asOf);
      view.state("synced", "up to date");
      const rows = change.inserted.length + change.updated.length + change.deleted.length;
      if (!rows) return;
      if (first) {
        view.log([{ kind: "info", text: `loaded ${count(change.inserted.length, "row")}` }]);
      } else {
        model.mark(change, Date.now());
        view.log(sentences(change));
      }
      view.draw();
    },
    verified({ identical, objects }) {
      document.body.dataset.identical = identical;
      view.counts(objects);
      if (!identical) view.log([{ kind: "left", text: "differs from the server: loading anew" }]);
    },
    problem({ error }) {
      const refused = error instanceof Problem && [401, 403].includes(error.status);
      view.state(refused ? "refused" : "waiting", refused ? "not allowed" : "offline");
      view.log([{ kind: "info", text: error.message }]);
      if (error.status === 401) askForToken();
    },
    waiting({ ms }) {
      view.state("waiting", `asks again in ${Math.ceil(ms / 1000)} s`);
    },
  };
  setInterval(() => model?.expire(Date.now()) && view.draw(), TICK_MS);
  await device.run();
}

function fillPicker(territories, chosen) {
  const picker = document.getElementById("territory");
  picker.replaceChildren(
    ...territories.map(({ id, name }) => new Option(name ?? id, id, false, id === chosen.id)),
  );
  picker.onchange = () => (location.search = `?territory=${encodeURIComponent(picker.value)}`);
}

function askForToken() {
  const form = document.getElementById("token-form");
  form.hidden = false;
  document.getElementById("state").textContent = "a token is needed";
  document.body.dataset.state = "refused";
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, document.getElementById("token").value.trim());
    location.reload();
  };
}
