// The page: choose a user, see the slate and its reasons, say like or dislike, watch the slate change.
// Data enters the document through textContent only.

import { call, post, streamExplanation, useKey } from "/static/api.js";

const CONCURRENT_REASONS = 2; // browsers allow six connections a host; feedback must not wait behind reasons
const by = (id) => document.getElementById(id);
const state = { userId: null, slate: null, order: [], asked: 0, stops: [], turn: { query: "", dialogue: [] } };

function say(text, isError = false) {
  by("message").textContent = text;
  by("message").classList.toggle("error", isError);
}

function guarded(action) {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      say(error.message, true);
    }
  };
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function later(action, milliseconds) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

// ---- users ----

async function showUsers() {
  const { users } = await call(`/v1/users?limit=20&search=${encodeURIComponent(by("user-search").value.trim())}`);
  by("users").replaceChildren(...users.map(userChoice));
  if (!users.length) by("users").append(element("li", "No user matches."));
}

function userChoice(user) {
  const button = element("button", [user.user_id, describe(user.attributes)].filter(Boolean).join(" \u2013 "));
  button.type = "button";
  button.dataset.userId = user.user_id;
  button.setAttribute("aria-pressed", String(user.user_id === state.userId));
  button.addEventListener("click", guarded(() => chooseUser(user.user_id)));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

const describe = (attributes) => Object.entries(attributes).map(([name, value]) => `${name} ${value}`).join(", ");

async function chooseUser(userId) {
  state.userId = userId;
  state.order = [];
  by("users").querySelectorAll("button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.userId === userId));
  });
  await Promise.all([showUser(), recommend()]);
}

async function showUser() {
  const user = await call(`/v1/users/${encodeURIComponent(state.userId)}`);
  if (user.user_id !== state.userId) return;
  by("user-name").textContent = `User ${user.user_id}`;
  by("user-attributes").textContent = describe(user.attributes);
  by("history").replaceChildren(...user.history.map(historyEntry));
  if (!user.history.length) by("history").append(element("li", "Nothing yet."));
  by("user").hidden = false;
}

function historyEntry(interaction) {
  const what = interaction.value == null ? interaction.event : `${interaction.event} ${interaction.value}`;
  const entry = element("li", `${interaction.title} `);
  const note = element("span", what);
  note.className = "muted";
  entry.append(note);
  return entry;
}

// ---- slate ----

function request() {
  const query = by("query").value.trim();
  const dialogue = query ? turnsBefore(query) : [];
  return {
    ...(state.userId !== null && { user_id: state.userId }),
    ...(query && { query }),
    ...(dialogue.length && { dialogue }),
    ...(query && !by("read-filters").checked && { read_filters: false }),
    k: Number(by("k").value),
    diversity: Number(by("diversity").value),
    debias: Number(by("debias").value),
  };
}

// What was asked before, as long as the box is ticked; the same words again, with a slider moved, are no new turn.
function turnsBefore(query) {
  const { query: last, dialogue } = state.turn;
  if (!by("follow").checked) return [];
  return query === last || !last ? dialogue : [...dialogue, last].slice(-20);
}

async function recommend() {
  if (state.userId === null && !by("query").value.trim()) {
    say("Choose a user, or say what you want.");
    return;
  }
  const asked = ++state.asked; // an answer that a newer request has overtaken is dropped
  say("Looking ...");
  const body = request();
  const slate = await post("/v1/recommendations", body);
  if (asked !== state.asked) return;
  state.turn = { query: body.query ?? "", dialogue: body.dialogue ?? [] };
  by("follow-box").hidden = !state.turn.query;
  by("turns").textContent = state.turn.dialogue.length ? `after: ${state.turn.dialogue.join(" / ")}` : "";
  state.stops.splice(0).forEach((stop) => stop());
  state.slate = slate;
  const titles = new Map(slate.items.map((item) => [item.item_id, item.title]));
  const before = state.order;
  state.order = [...titles];
  const cards = slate.items.map((item, place) => card(item, change(item.item_id, place, before)));
  by("slate").replaceChildren(...cards);
  showWhatChanged(before, titles);
  showUnderstood(slate.filters);
  showStatus();
  if (by("explain").checked) explainAll(slate, cards);
}

function change(itemId, place, before) {
  if (!before.length) return null;
  const old = before.findIndex(([id]) => id === itemId);
  if (old < 0) return { kind: "new", text: "new" };
  if (old === place) return null;
  return { kind: "moved", text: `${old > place ? "up" : "down"} from ${old + 1}` };
}

function showWhatChanged(before, titles) {
  const gone = before.filter(([id]) => !titles.has(id)).map(([, title]) => title);
  by("gone").hidden = !gone.length;
  by("gone").textContent = `No longer in the slate: ${gone.join("; ")}`;
  const fresh = [...titles.keys()].filter((id) => !before.some(([old]) => old === id)).length;
  const news = before.length ? `${fresh} new, ${gone.length} gone` : `${titles.size} items`;
  say(`${titles.size ? `Slate: ${news}.` : "Nothing fits. Ask for something else."} ${state.slate.notice}`.trim());
}

function showUnderstood(filters) {
  const { categories, all_categories: all, no_categories: none, year_min, year_max, price_min, price_max } = filters ?? {};
  const parts = [
    categories && categories.join(" or "),
    all && all.join(" and "),
    none && `not ${none.join(" or ")}`,
    range("year", year_min, year_max),
    range("price", price_min, price_max),
  ].filter(Boolean);
  by("understood").hidden = !parts.length;
  by("understood").textContent = `Only: ${parts.join("; ")}`;
}

function range(name, low, high) {
  if (low == null && high == null) return null;
  if (low === high) return `${name} ${low}`;
  if (high == null) return `${name} ${low} or more`;
  return low == null ? `${name} ${high} or less` : `${name} ${low} to ${high}`;
}

function card(item, changed) {
  const node = by("item-template").content.firstElementChild.cloneNode(true);
  const part = (name) => node.querySelector(name);
  node.dataset.itemId = item.item_id;
  part(".title").textContent = item.title;
  part(".numbers").textContent = `score ${item.score.toFixed(3)}, propensity ${item.propensity.toPrecision(3)}`;
  if (changed) {
    node.classList.add(changed.kind);
    part(".change").textContent = changed.text;
    part(".change").hidden = false;
  }
  const buttons = part(".buttons");
  buttons.setAttribute("aria-label", `Feedback on ${item.title}`);
  buttons.hidden = state.userId === null; // feedback belongs to a user
  buttons.addEventListener("click", guarded((event) => giveFeedback(event.target.dataset.event, item, node)));
  return node;
}

async function giveFeedback(kind, item, node) {
  if (!kind) return;
  node.querySelectorAll("button").forEach((button) => { button.disabled = true; });
  try {
    await post("/v1/feedback", [{
      event_id: newId(), user_id: state.userId, item_id: item.item_id, event: kind, slate_id: state.slate.slate_id,
    }]);
  } catch (error) {
    node.querySelectorAll("button").forEach((button) => { button.disabled = false; });
    throw error;
  }
  await Promise.all([showUser(), recommend()]);
  by("slate-heading").focus({ preventScroll: true }); // the button that had the focus is gone
}

function newId() { // randomUUID exists on https and localhost only
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- reasons ----

function explainAll(slate, cards) {
  const waiting = slate.items.map((item, place) => () => explain(slate.slate_id, item.item_id, cards[place]));
  const next = () => {
    if (slate === state.slate) waiting.shift()?.().then(next);
  };
  for (let lane = 0; lane < CONCURRENT_REASONS; lane += 1) next();
}

function explain(slateId, itemId, node) {
  const reason = node.querySelector(".reason");
  const text = node.querySelector(".reason-text");
  reason.hidden = false;
  reason.setAttribute("aria-busy", "true");
  return new Promise((resolve) => {
    const finish = () => {
      reason.setAttribute("aria-busy", "false");
      resolve();
    };
    state.stops.push(streamExplanation(slateId, itemId, {
      onToken: (piece) => { text.textContent += piece; },
      onDone: (done) => { showReason(node, done); finish(); },
      onError: (message) => { text.textContent = message; finish(); },
    }));
  });
}

function showReason(node, { text, source, evidence = [] }) {
  if (text) node.querySelector(".reason-text").textContent = text;
  const badge = node.querySelector(".source");
  badge.hidden = !source;
  badge.textContent = source === "llm" ? "LLM" : "Template";
  if (source) badge.classList.add(source);
  node.querySelector(".evidence").hidden = !evidence.length;
  node.querySelector(".evidence ul").replaceChildren(...evidence.map((claim) => element("li", claim)));
}

// ---- status and start ----

async function showStatus() {
  try {
    const status = await call("/v1/status");
    const behind = status.learners.reduce((sum, learner) => sum + learner.behind, 0);
    const learnt = status.learners.reduce((sum, learner) => sum + learner.examples, 0);
    const learning = status.learners.length ? `, ${learnt.toLocaleString()} learnt from, ${behind.toLocaleString()} to go` : "";
    by("status").textContent = `Model ${status.model_version}, ${status.users.toLocaleString()} users, `
      + `${status.items.toLocaleString()} items, ${status.feedback_events.toLocaleString()} feedback events${learning}`;
  } catch (error) {
    by("status").textContent = error.message;
  }
}

by("user-search").addEventListener("input", later(guarded(showUsers), 200));
by("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(recommend)();
});
for (const name of ["k", "diversity", "debias"]) {
  const show = () => { by(`${name}-value`).textContent = by(name).value; };
  show(); // browsers keep a slider's place over a reload
  by(name).addEventListener("input", show);
  by(name).addEventListener("change", guarded(recommend));
}
for (const name of ["explain", "read-filters"]) by(name).addEventListener("change", guarded(recommend));
document.addEventListener("keyneeded", () => {
  if (!by("key-box").hidden) return;
  by("key-box").hidden = false;
  by("key").focus();
});
by("key-box").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key").value = "";
  by("key-box").hidden = true;
  say("Choose a user, or say what you want.");
  start();
});

function start() {
  showStatus();
  guarded(showUsers)();
}

start();
