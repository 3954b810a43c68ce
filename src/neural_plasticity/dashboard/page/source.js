// Where events come from: the page itself when it is a file, else a server's stream, and where that fails its pages, on one cursor.

import { runsOf } from "./columns.js";

const SLOWEST = 8000; // milliseconds between two tries
const SILENCE = 5000; // a stream that has not opened by then is not waited for
const POLL = 1000;

export function feedNow() {
  return JSON.parse(document.getElementById("feed").textContent || "{}");
}

// The runs that lie in the page.
export async function runsInside(feed) {
  return runsOf(feed);
}

async function answered(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401 || answer.status === 403)
    throw new Error("The server asks for its token: open the link that it printed.");
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return answer.json();
}

export function listedRuns() {
  return answered("api/runs");
}

export async function describedRun(name) {
  return (await answered(`api/runs/${encodeURIComponent(name)}`)).described;
}

// All that is recorded of a run until now, page by page.
export async function* wholeRun(name) {
  let cursor = "";
  for (;;) {
    const page = await answered(eventsPath(name, cursor));
    yield page.items;
    cursor = page.cursor;
    if (!page.more) return;
  }
}

function eventsPath(name, cursor, wait = 0) {
  return `api/runs/${encodeURIComponent(name)}/events?${new URLSearchParams({ cursor, wait: String(wait) })}`;
}

// Follow a run until told to stop. `told` hears {items, restarted, status, corrupt}; status is live, polling, reconnecting or refused.
export function followed(name, told) {
  const line = { name, told, cursor: "", stopped: false, stream: null, timer: null, failures: 0 };
  connect(line);
  return () => {
    line.stopped = true;
    clearTimeout(line.timer);
    line.stream?.close();
  };
}

function connect(line) {
  if (line.stopped) return;
  if (typeof EventSource === "undefined" || (line.failures > 0 && line.failures % 2 === 0)) {
    poll(line);
    return;
  }
  const stream = new EventSource(
    `api/runs/${encodeURIComponent(line.name)}/stream?${new URLSearchParams({ cursor: line.cursor })}`,
  );
  line.stream = stream;
  const silent = setTimeout(() => stream.readyState !== EventSource.OPEN && broken(line, stream), SILENCE);
  stream.onopen = () => {
    clearTimeout(silent);
    line.failures = 0;
    line.told.status("live");
  };
  stream.addEventListener("items", (event) => {
    line.cursor = event.lastEventId || line.cursor;
    line.told.items(JSON.parse(event.data));
  });
  stream.addEventListener("restarted", () => {
    line.cursor = "";
    line.told.restarted();
  });
  stream.addEventListener("corrupt", (event) => line.told.corrupt(JSON.parse(event.data)));
  stream.onerror = () => {
    clearTimeout(silent);
    broken(line, stream);
  };
}

// The browser would try again by itself, but not after every kind of failure; so all of it is done here.
function broken(line, stream) {
  if (line.stopped || line.stream !== stream) return;
  stream.close();
  line.stream = null;
  again(line, new Error("The stream broke off."));
}

function again(line, fault) {
  line.failures += 1;
  line.told.status(/token/.test(fault.message) ? "refused" : "reconnecting", fault.message);
  line.timer = setTimeout(() => connect(line), Math.min(SLOWEST, 250 * 2 ** Math.min(line.failures, 5)));
}

// One page after the other; a stream is tried again now and then.
async function poll(line) {
  try {
    for (let turn = 0; turn < 20 && !line.stopped; turn += 1) {
      const page = await answered(eventsPath(line.name, line.cursor));
      if (line.stopped) return;
      line.told.status("polling");
      if (page.restarted) line.told.restarted();
      line.cursor = page.cursor;
      line.told.items(page.items);
      if (!page.more) line.told.corrupt(page.corrupt ?? null); // only the last page knows whether the record can be read on
      if (!page.more)
        await new Promise((done) => {
          line.timer = setTimeout(done, POLL);
        });
    }
    line.failures = 1;
    connect(line);
  } catch (fault) {
    if (!line.stopped) again(line, fault);
  }
}
