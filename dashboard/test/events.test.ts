import { expect, test } from "vitest";
import { Backoff } from "../src/api/backoff.ts";
import { EventStream, type Link, parse } from "../src/api/events.ts";

interface Script {
  status?: number;
  text?: string;
}

/** A stream against a server that answers one script after the other; it is closed after the last. */
async function play(scripts: Script[]) {
  const asked: (string | null)[] = [];
  const rereads: string[] = [];
  const kinds: string[] = [];
  const links: Link["state"][] = [];
  const pauses: number[] = [];
  const fetch = (async (_path: string, init: RequestInit) => {
    asked.push(new Headers(init.headers).get("Last-Event-ID"));
    const script = scripts.shift();
    if (scripts.length === 0) setTimeout(() => stream.close());
    if (!script) throw new TypeError("refused");
    return new Response(script.text ?? "", { status: script.status ?? 200 });
  }) as unknown as typeof globalThis.fetch;

  const stream: EventStream = new EventStream(
    {
      onEvent: (event) => kinds.push(event.kind),
      onReread: (why) => rereads.push(why),
      onLink: (link) => links.push(link.state),
    },
    {
      fetch,
      pause: async (ms) => {
        pauses.push(ms);
        await new Promise((resolve) => setTimeout(resolve));
      },
      backoff: new Backoff(100, 1_000, () => 0.5),
    },
  );
  await stream.run();
  return { asked, rereads, kinds, links, pauses };
}

const READY = 'event: ready\ndata: {"at":{"eu":1}}\n\n';
const event = (id: string, kind = "granted") =>
  `event: ${kind}\nid: ${id}\ndata: {"kind":"${kind}","at_ms":1}\n\n`;

test("a lost stream resumes after the last event, and reads nothing again", async () => {
  const seen = await play([{ text: READY + event("eu:5:0") }, { text: event("eu:6:0") }, {}]);
  expect(seen.asked).toEqual([null, "eu:5:0", "eu:6:0"]);
  expect(seen.rereads).toEqual(["start"]);
  expect(seen.kinds).toEqual(["granted", "granted"]);
  expect(seen.links.slice(0, 4)).toEqual(["connecting", "live", "lost", "live"]);
});

test("a gap is read again, and the stream goes on", async () => {
  const gap = 'event: gap\ndata: {"group":"eu","first_index":9}\n\n';
  const seen = await play([{ text: READY + event("eu:5:0") }, { text: gap + event("eu:9:0") }, {}]);
  expect(seen.rereads).toEqual(["start", "gap"]);
  expect(seen.asked[2]).toBe("eu:9:0");
});

test("who lagged starts anew", async () => {
  const lagged = 'event: lagged\ndata: {"group":"eu"}\n\n';
  const seen = await play([{ text: READY + event("eu:5:0") + lagged }, { text: READY }, {}]);
  expect(seen.asked).toEqual([null, null, null]);
  expect(seen.rereads).toEqual(["start", "lagged"]);
});

test("a resume point that the server refuses is given up", async () => {
  const seen = await play([{ text: READY + event("eu:5:0") }, { status: 400 }, { text: READY }, {}]);
  expect(seen.asked.slice(0, 3)).toEqual([null, "eu:5:0", null]);
  expect(seen.rereads).toEqual(["start", "start"]);
});

test("pauses grow, and a connection that works ends that", async () => {
  const seen = await play([{ status: 503 }, { status: 503 }, { status: 503 }, { text: READY }, {}]);
  expect(seen.pauses.slice(0, 4)).toEqual([75, 150, 300, 75]);
});

test("back-off is bounded and spread", () => {
  const low = new Backoff(100, 1_000, () => 0);
  const high = new Backoff(100, 1_000, () => 1);
  for (let i = 0; i < 50; i++) {
    expect(low.next()).toBeLessThanOrEqual(500);
    expect(high.next()).toBeLessThanOrEqual(1_000);
  }
});

test("what is no event is passed over", () => {
  expect(parse("{")).toBeNull();
  expect(parse("{}")).toBeNull();
});
