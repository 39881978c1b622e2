// What a page does with a server through WebSocket, by the stock client. Each check is a sentence and a
// function that throws when it is not so; the outcomes are posted to whoever served the page.

import { Empty, errors, headers, wsconnect } from "@nats-io/nats-core";

const servers = new URLSearchParams(location.search).get("server");
const connect = (options = {}) => wsconnect({ servers, reconnect: false, timeout: 5000, ...options });

function same(found, wanted) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) {
    throw new Error(`${a}, wanted ${b}`);
  }
}

/** The first `count` messages of a subscription, as `of` sees them. */
async function first(count, subscription, of) {
  const found = [];
  for await (const message of subscription) {
    found.push(of(message));
    if (found.length === count) {
      break;
    }
  }
  return found;
}

function pattern(bytes) {
  const block = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) {
    block[at] = (at * 7) % 251;
  }
  return block;
}

const checks = {
  "what one connection publishes another hears": async () => {
    const [publisher, subscriber] = [await connect(), await connect()];
    const heard = first(2, subscriber.subscribe("page.*"), (m) => [m.subject, m.string()]);
    await subscriber.flush();
    publisher.publish("page.a", "one");
    publisher.publish("other", "not this");
    publisher.publish("page.b", "straße");
    same(await heard, [["page.a", "one"], ["page.b", "straße"]]);
    await publisher.close();
    await subscriber.close();
  },

  "its own messages come back, unless echo is off": async () => {
    const [echoing, silent] = [await connect(), await connect({ noEcho: true })];
    const heard = first(1, echoing.subscribe("echo"), (m) => m.string());
    let unheard = 0;
    silent.subscribe("echo", { callback: (_, m) => unheard += m.string() === "silent" ? 1 : 0 });
    await silent.flush();
    silent.publish("echo", "silent");
    await silent.flush();
    same(await heard, ["silent"]);
    same(unheard, 0);
    await echoing.close();
    await silent.close();
  },

  "headers and empty payloads are kept": async () => {
    const nc = await connect();
    const heard = first(1, nc.subscribe("headed"), (m) => [m.headers.get("Trace"), m.data.length]);
    const sent = headers();
    sent.set("Trace", "a: b");
    nc.publish("headed", Empty, { headers: sent });
    same(await heard, [["a: b", 0]]);
    await nc.close();
  },

  "payloads of every length class of a frame are kept": async () => {
    const nc = await connect();
    const lengths = [0, 1, 90, 125, 126, 127, 4096, 65_500, 65_536, 300_000, 1_000_000];
    const heard = first(lengths.length, nc.subscribe("long"), (m) => m.data);
    for (const bytes of lengths) {
      nc.publish("long", pattern(bytes));
    }
    for (const [at, data] of (await heard).entries()) {
      const wanted = pattern(lengths[at]);
      same(data.length, wanted.length);
      same(data.every((byte, i) => byte === wanted[i]), true);
    }
    await nc.close();
  },

  "20,000 messages come in order": async () => {
    const [publisher, subscriber] = [await connect(), await connect()];
    const count = 20_000;
    const heard = first(count, subscriber.subscribe("many"), (m) => Number(m.string()));
    await subscriber.flush();
    for (let at = 0; at < count; at++) {
      publisher.publish("many", String(at));
      if (at % 1000 === 999) {
        await publisher.flush();
      }
    }
    same((await heard).every((number, at) => number === at), true);
    await publisher.close();
    await subscriber.close();
  },

  "requests are answered, by one of a queue group": async () => {
    const [asking, serving] = [await connect(), await connect()];
    let answers = 0;
    for (const name of ["a", "b"]) {
      const callback = (_, m) => {
        answers += 1;
        m.respond(`${name} ${m.string()}`);
      };
      serving.subscribe("question", { queue: "workers", callback });
    }
    await serving.flush();
    for (let at = 0; at < 20; at++) {
      const answer = await asking.request("question", String(at), { timeout: 5000 });
      same(answer.string().slice(1), ` ${at}`);
    }
    same(answers, 20);
    await asking.close();
    await serving.close();
  },

  "a request that nobody serves fails at once": async () => {
    const nc = await connect();
    let failure;
    try {
      await nc.request("nobody", "", { timeout: 5000 });
    } catch (error) {
      failure = error;
    }
    same(failure instanceof errors.NoRespondersError
      || failure?.cause instanceof errors.NoRespondersError, true);
    await nc.close();
  },

  "a subscription ends after the messages it asked for": async () => {
    const nc = await connect();
    const heard = first(9, nc.subscribe("some", { max: 2 }), (m) => m.string());
    ["a", "b", "c"].forEach((text) => nc.publish("some", text));
    same(await heard, ["a", "b"]);
    await nc.close();
  },

  "a drained connection is closed without an error": async () => {
    const nc = await connect();
    const heard = first(1, nc.subscribe("last"), (m) => m.string());
    nc.publish("last", "word");
    await nc.drain();
    same(await heard, ["word"]);
    same(await nc.closed(), undefined);
  },

  "pings are answered while nothing is said": async () => {
    const nc = await connect({ pingInterval: 200, maxPingOut: 2 });
    await new Promise((resume) => setTimeout(resume, 1500));
    same(nc.isClosed(), false);
    same(0 <= await nc.rtt(), true);
    await nc.close();
  },
};

async function run() {
  const outcomes = [];
  for (const [name, check] of Object.entries(checks)) {
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error("late")), 30_000));
    let failure = null;
    try {
      await Promise.race([check(), late]);
    } catch (error) {
      failure = String(error?.stack ?? error);
    }
    outcomes.push({ name, failure });
  }
  return outcomes;
}

run().then((outcomes) => fetch("outcomes", { method: "POST", body: JSON.stringify(outcomes) }));
