import { expect, test } from "vitest";
import type { Resource, ResourceStats } from "../src/api/types.ts";
import { draftOf, type LimitDraft, preview } from "../src/words/limits.ts";
import { make, nameError, SHAPES } from "../src/words/shapes.ts";
import { curlPut, python, shellWord } from "../src/words/snippets.ts";

const RESOURCE: Resource = {
  name: "openai",
  placement: "eu",
  limits: {
    tpm: { kind: "rate", algorithm: "token_bucket", quota: 90_000, window_ms: 60_000, burst: null },
    slots: { kind: "concurrency", quota: 20 },
  },
  queue: { max_waiting: 10, max_wait_ms: 1000, claim_ms: 5000 },
  lease: { default_ttl_ms: 1, max_ttl_ms: 1 },
  version: 3,
  effective_index: 7,
};

const STATS: ResourceStats = {
  queue_depth: 1,
  queue_load: 2000,
  oldest_wait_ms: 1,
  held: 20,
  limits: {
    tpm: { quota: 90_000, used: 89_400, remaining: 600, utilization: 0.99 },
    slots: { quota: 20, used: 20, remaining: 0, utilization: 1 },
  },
  head: {
    id: "eu.1",
    load: 2000,
    priority: 5,
    waited_ms: 1,
    violated: ["tpm"],
    needs: { tpm: 2000, slots: 1 },
    fits_in_ms: 1,
    fits_at_release: false,
  },
};

function drafts(change: Record<string, Partial<LimitDraft>>): Record<string, LimitDraft> {
  return Object.fromEntries(
    Object.entries(RESOURCE.limits).map(([name, limit]) => [name, { ...draftOf(limit), ...change[name] }]),
  );
}

test("a preview says what would be free and whether the head would fit", () => {
  const change = preview(RESOURCE, drafts({ tpm: { quota: "120,000" } }), STATS);
  expect(change.patch).toEqual({ limits: { tpm: { quota: 120_000 } } });
  expect(change.lines[0]).toContain(
    "90,000 a minute, bursts of 90,000 → 120,000 a minute, bursts of 120,000",
  );
  expect(change.lines[0]).toContain(
    "89,400 are used, so 30,600 would be free; the head needs 2,000 and would fit.",
  );
});

test("a preview warns of a limit below what is used", () => {
  const change = preview(RESOURCE, drafts({ slots: { quota: "15" } }), STATS);
  expect(change.lines[0]).toContain("20 are used: nothing is granted until 6 are released.");
});

test("nothing changed is no change, and nonsense is told", () => {
  expect(preview(RESOURCE, drafts({}), STATS).lines).toEqual([]);
  for (const quota of ["", "0", "-1", "1.5", "9007199254740993", "many"]) {
    expect(preview(RESOURCE, drafts({ slots: { quota } }), STATS).errors.slots).toBe(
      "The quota is a whole number from 1.",
    );
  }
});

test("the form makes what the server takes", () => {
  const [llm] = SHAPES;
  if (!llm) throw new Error("no shape");
  const made = make(llm, { name: "a/b[c]", placement: "", values: { tpm: "1000" }, maxWaitS: "0" });
  expect(made.errors).toEqual({});
  expect(made.body.queue).toEqual({ max_wait_ms: 0 });
  expect(made.body.limits.tpm?.quota).toBe(1000);
  expect(
    make(llm, { name: "a b", placement: "", values: { rpm: "x" }, maxWaitS: "1" }).errors,
  ).toHaveProperty("rpm");
  expect(nameError("a b")).not.toBe("");
  expect(nameError("..")).not.toBe("");
});

test("lines to copy are safe to paste", () => {
  expect(shellWord("it's")).toBe("'it'\\''s'");
  expect(curlPut("http://n:1", "a/b", { limits: {} })).toContain("http://n:1/v1/resources/a%2Fb");
  expect(python("http://n:1", 'a"b', { input: 1 }, 30)).toContain('"a\\"b", load={"input": 1}, timeout=30');
});
