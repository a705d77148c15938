// Requests to the service. Every failure becomes an Error with the service's own words.

const KEY = "llm4rec-key"; // kept until the tab is closed, sent to this host only

export const useKey = (key) => sessionStorage.setItem(KEY, key);

function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  return fetch(path, { headers, ...options });
}

export async function call(path, options = {}) {
  let answer;
  try {
    answer = await ask(path, options);
  } catch {
    throw new Error("The service does not answer. Is it still running?");
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.status === 401) document.dispatchEvent(new Event("keyneeded"));
  if (!answer.ok) {
    throw Object.assign(new Error(body?.detail ?? `The service answered ${answer.status}.`), { status: answer.status });
  }
  return body;
}

export const post = (path, value) => call(path, { method: "POST", body: JSON.stringify(value) });

// Calls onToken(text) for each piece, then onDone({text, source, evidence}) or onError(text); returns a function that
// stops. Not an EventSource, which could not show a key.
export function streamExplanation(slateId, itemId, { onToken, onDone, onError }) {
  const stop = new AbortController();
  const handle = { token: (data) => onToken(data.text), done: onDone, error: (data) => onError(data.text) };
  const follow = async () => {
    const path = `/v1/explanations/${encodeURIComponent(slateId)}/${encodeURIComponent(itemId)}`;
    const answer = await ask(path, { signal: stop.signal });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    let ended = false;
    for await (const { kind, data } of events(answer.body)) {
      handle[kind]?.(data);
      ended ||= kind !== "token";
    }
    if (!ended) throw new Error("No reason could be had.");
  };
  follow().catch((error) => {
    if (!stop.signal.aborted) onError(error.message);
  });
  return () => stop.abort();
}

// The server-sent events of a body: each an `event:` line, a `data:` line of JSON and an empty line.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop();
    for (const frame of frames) {
      const lines = new Map(frame.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield { kind: lines.get("event"), data: JSON.parse(lines.get("data")) };
    }
  }
}
