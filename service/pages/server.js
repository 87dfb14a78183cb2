// What is asked of the server, and every way in which an answer can fail to come.

const KEY = "winnow-key";
export const key = {
  get: () => { try { return sessionStorage.getItem(KEY) || ""; } catch (error) { return ""; } },
  set: (value) => { try { value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY); } catch (error) { /* the field holds it */ } },
};

// `kind`: "key", "busy", "slow", "down", "refused", "cut" or "withdrawn". `wait`: seconds before another try makes sense.
export class Fault extends Error {
  constructor(kind, title, message, wait = null) {
    super(message);
    this.kind = kind;
    this.title = title;
    this.wait = wait;
  }
}

const BY_CODE = { queue_full: 429, rate_limit_exceeded: 429, deadline_exceeded: 504, content_filter: 0 };

function fault(status, error, wait) {
  const said = error && typeof error.message === "string" ? error.message : "";
  const code = error && error.code;
  if (status === 401) return new Fault("key", "This server asks for an API key", said || "Enter one under Options, then try again.");
  if (status === 403) return new Fault("key", "This API key may not do that", said || "Enter another one under Options, then try again.");
  if (status === 429) {
    return new Fault("busy", code === "queue_full" ? "The server is busy" : "Too many requests", said, wait === null ? 5 : wait);
  }
  if (status === 504) return new Fault("slow", "That took too long", said || "The server gave up. Fewer candidates take less time.", wait);
  if (code === "content_filter") return new Fault("withdrawn", "The reply was withdrawn", said || "It did not pass the safety policy as a whole.");
  if (code === "context_length_exceeded") {
    return new Fault("refused", "The conversation is too long", `${said} Begin a new chat, or ask something shorter.`);
  }
  if (status >= 500) return new Fault("down", "The server cannot answer now", said || `It answered with status ${status}.`, wait);
  return new Fault("refused", "The server did not take this", said || `It answered with status ${status}.`);
}

async function faultOf(answer) {
  let found = null;
  try { found = (await answer.json()).error; } catch (error) { /* a proxy's page, say */ }
  const seconds = Number.parseFloat(answer.headers.get("Retry-After"));
  return fault(answer.status, found, Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 3600) : null);
}

const UNREACHED = () => new Fault("cut", "The server cannot be reached", "Is it running, and are you connected?");
const CUT = () => new Fault("cut", "The connection dropped", "It ended before the reply was complete.");
const RUBBISH = () => new Fault("down", "The server cannot answer now", "What came is no answer of Winnow's.");

async function ask(path, options = {}) {
  if (!/^[\x21-\x7e]*$/.test(key.get())) throw new Fault("key", "This is no API key", "It holds a character that no key has.");
  const headers = { ...(key.get() ? { Authorization: `Bearer ${key.get()}` } : {}), ...options.headers };
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : error instanceof TypeError ? UNREACHED() : error;
  }
  if (!answer.ok) throw await faultOf(answer);
  return answer;
}

const posted = (body, signal) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
});

async function json(path, options) {
  const answer = await ask(path, options);
  try { return await answer.json(); } catch (error) { throw RUBBISH(); }
}

// As strict as the preset too, where one is named.
export const policy = (preset) => json(preset ? `v1/policy?policy=${encodeURIComponent(preset)}` : "v1/policy");
export const reasons = () => json("v1/feedback");
export const tell = (body) => json("v1/feedback", posted(body));

// Yields {note} for what the server says of its progress, {chunk} for what it sends. Ends after [DONE] alone; else a Fault is thrown.
export async function* reply(body, signal) {
  const answer = await ask("v1/chat/completions", posted({ ...body, stream: true }, signal));
  if (!(answer.headers.get("Content-Type") || "").startsWith("text/event-stream")) throw RUBBISH();
  for await (const event of events(answer.body.getReader())) {
    const data = [];
    for (const line of event.split(/\r?\n/)) {
      if (line.startsWith(":")) yield { note: line.slice(1).trim() };
      else if (line.startsWith("data:")) data.push(line.slice(5).trim());
    }
    if (!data.length) continue;
    if (data.join("\n") === "[DONE]") return;
    let chunk;
    try { chunk = JSON.parse(data.join("\n")); } catch (error) { throw RUBBISH(); }
    if (!chunk || typeof chunk !== "object") throw RUBBISH();
    if (chunk.error) throw fault(BY_CODE[chunk.error.code] ?? 500, chunk.error, null);
    yield { chunk };
  }
  throw CUT();
}

async function* events(reader) {
  const decoder = new TextDecoder();
  let held = "";
  while (true) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : CUT();
    }
    held += part.done ? decoder.decode() : decoder.decode(part.value, { stream: true });
    const whole = held.split(/\r?\n\r?\n/);
    held = whole.pop();
    yield* whole;
    if (part.done) return;
  }
}
