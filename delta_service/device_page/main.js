// Wires a territory's device to the page.

import { Connection } from "./connection.js";
import { Database } from "./database.js";
import { doubtsOf } from "./freshness.js";
import { count, Model, sentences } from "./model.js";
import { Device } from "./sync.js";
import { keptToken, keepToken } from "./token.js";
import { log, showDoubts, showState, showSynced, View } from "./view.js";

const TICK_MS = 1000;
const RETRY_MS = 2000;

start();

async function start() {
  const connection = new Connection(keptToken());
  try {
    const territories = await listTerritories(connection);
    const territory = chosenTerritory(territories);
    if (!territory) return showState("refused", "the token names no territory");
    fillPicker(territories, territory);
    document.title = `${territory.name ?? territory.id} – device`;
    await runDevice(territory, connection);
  } catch (error) {
    if (error.refused) return refuse(error);
    showState("waiting", error.message);
    setTimeout(start, error.retryAfterMs ?? RETRY_MS);
  }
}

async function listTerritories(connection) {
  const { territories } = JSON.parse((await connection.get("/v1/territories")).text);
  return territories.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
}

/** The one in the address, by id or name, else the first with rows. One that is not listed the service may refuse. */
function chosenTerritory(territories) {
  const asked = new URLSearchParams(location.search).get("territory");
  if (asked === null) return territories.find(hasRows) ?? territories[0];
  return territories.find(({ id, name }) => [id, name].includes(asked)) ?? { id: asked };
}

async function runDevice(territory, connection) {
  const database = await Database.open(territory.id);
  const device = new Device({ territory: territory.id, connection, database, tell: (event) => hear[event.kind](event) });
  let model;
  let view;
  let trouble = null;
  let freshness = null;

  const hear = {
    loaded({ rows, cursor }) {
      model = new Model(rows);
      view = new View(model);
      view.progress(cursor);
      view.draw();
      showState("syncing", cursor ? "catching up" : "first sync");
      if (cursor) log("info", `opened with the ${count(device.replica.size, "row")} kept on this device`);
    },
    received({ rows }) {
      if (document.body.dataset.state === "syncing" && rows) showState("syncing", `received ${count(rows, "row")}`);
    },
    applied({ change, first, cursor, asOf, freshness: heard = null }) {
      freshness = heard;
      drawDoubts();
      view.progress(cursor, asOf);
      const rows = change.inserted.length + change.updated.length + change.deleted.length;
      if (!rows) return;
      model.apply(change, first ? undefined : Date.now());
      if (first) log("info", `loaded ${count(rows, "row")}`);
      else for (const { kind, text } of sentences(change)) log(kind, text);
      view.draw();
    },
    verified({ identical, objects }) {
      if (!identical) log("problem", "not identical to the server: repairing");
      else if (trouble) log("info", "in step again");
      if (identical) trouble = null;
      view.counts(objects);
      document.body.dataset.identical = identical;
      if (identical) showSynced(doubts());
      else showState("differs", "≠ differs from the server · repairing");
    },
    problem({ error }) {
      if (error.message !== trouble) log("problem", error.message);
      trouble = error.message;
      if (error.refused) refuse(error);
    },
    waiting({ ms }) {
      showState("waiting", `waiting · asks again in ${Math.ceil(ms / 1000)} s`);
    },
  };

  const doubts = () => (freshness ? doubtsOf(freshness) : []);
  const drawDoubts = () => {
    if (showDoubts(doubts()) && document.body.dataset.state === "synced") showSynced(doubts());
  };

  setInterval(drawDoubts, TICK_MS);
  setInterval(() => model?.expire(Date.now()) && view.draw(), TICK_MS);
  window.addEventListener("online", () => device.wake());
  document.addEventListener("visibilitychange", () => document.hidden || device.wake());
  await device.run();
}

function fillPicker(territories, chosen) {
  const offered = territories.filter((one) => hasRows(one) || one.id === chosen.id);
  if (!offered.some(({ id }) => id === chosen.id)) offered.unshift(chosen);
  const picker = document.getElementById("territory");
  picker.replaceChildren(...offered.map((one) => new Option(nameOf(one), one.id, false, one.id === chosen.id)));
  picker.onchange = () => (location.search = `?territory=${encodeURIComponent(picker.value)}`);
}

/** Without a good token there is a field for one; a territory outside the token is only told. */
function refuse(error) {
  showState("refused", error.status === 401 ? "a token is needed" : "not your territory");
  const form = document.getElementById("token-form");
  form.hidden = error.status !== 401;
  form.onsubmit = (event) => {
    event.preventDefault();
    keepToken(document.getElementById("token").value.trim());
    location.reload();
  };
}

function hasRows({ counts }) {
  return Object.values(counts).some(Boolean);
}

function nameOf({ id, name }) {
  return name ?? id;
}
