// Requests to the service. Every failure becomes an Error with the service's own words.

export async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { "content-type": "application/json" }, ...options });
  } catch {
    throw new Error("The service does not answer. Is it still running?");
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.detail ?? `The service answered ${answer.status}.`);
  return body;
}

export const post = (path, value) => call(path, { method: "POST", body: JSON.stringify(value) });

// Calls onToken(text) for each piece, then onDone({text, source, evidence}) or onError(text); returns a function that stops.
export function streamExplanation(slateId, itemId, { onToken, onDone, onError }) {
  const stream = new EventSource(`/v1/explanations/${encodeURIComponent(slateId)}/${encodeURIComponent(itemId)}`);
  const end = (then) => (event) => {
    stream.close(); // else the browser would connect again
    then(event.data ? JSON.parse(event.data) : {});
  };
  stream.addEventListener("token", (event) => onToken(JSON.parse(event.data).text));
  stream.addEventListener("done", end(onDone));
  stream.addEventListener("error", end((data) => onError(data.text ?? "No reason could be had.")));
  return () => stream.close();
}
