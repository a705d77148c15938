// How slates of each model do, again and again.

import { call, useKey } from "./api.js";

const AGAIN_MS = 60000; // each time the service reads its whole log
const by = (id) => document.getElementById(id);
const points = (value) => (100 * value).toFixed(1);
const percent = (value) => `${(100 * value).toFixed(1)} %`;

function cell(text) {
  const node = document.createElement("td");
  node.textContent = text;
  return node;
}

// An interval as a line, its middle as a dot; all of them on one scale from 0 to `most`.
function drawn({ rate, low, high }, most) {
  const at = (value) => 4 + (152 * value) / most;
  const svg = by("interval-template").content.cloneNode(true);
  const [line, circle] = [svg.querySelector("line"), svg.querySelector("circle")];
  line.setAttribute("x1", at(low));
  line.setAttribute("x2", at(high));
  circle.setAttribute("cx", at(rate));
  const node = document.createElement("td");
  node.append(svg);
  return node;
}

function show(models) {
  const most = Math.max(0.01, ...models.statistics.map((one) => one.high));
  by("models").querySelector("tbody").replaceChildren(...models.statistics.map((one) => {
    const row = document.createElement("tr");
    const who = one.version === models.main ? percent(1 - models.share) : one.version === models.candidate ? percent(models.share) : "no more";
    const interval = `${percent(one.low)} to ${percent(one.high)}`;
    row.append(cell(one.version), cell(who), ...[one.users, one.slates].map((count) => cell(count.toLocaleString())),
      cell(percent(one.rate)), cell(interval), drawn(one, most));
    return row;
  }));
  by("models").hidden = !models.statistics.length;
  const tried = models.candidate ? `, ${models.candidate} is tried on ${percent(models.share)} of the users` : "";
  by("message").textContent = `${models.main} answers${tried}.`
    + (models.statistics.length ? "" : " No user has had a slate yet.");
  const { trial } = models;
  by("trial").textContent = !trial ? ""
    : `The candidate's share is higher by ${points(trial.difference)} percentage points (${points(trial.low)} to ${points(trial.high)}): `
      + (trial.low > 0 ? "better." : trial.high < 0 ? "worse." : "the trial has not told them apart yet.");
  by("failed").replaceChildren(...Object.entries(models.failed).map(([version, why]) => {
    const node = document.createElement("li");
    node.textContent = `${version} could not be opened: ${why}`;
    return node;
  }));
}

async function look() {
  try {
    show(await call("/v1/models"));
    by("key-box").hidden = true;
  } catch (error) {
    by("message").textContent = error.message;
    if (error.status === 401 || error.status === 403) {
      by("key-box").hidden = false;
      return;
    }
  }
  setTimeout(look, AGAIN_MS);
}

by("key-box").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key").value = "";
  look();
});

look();
