// The common shapes of a resource, and what a form makes of them. Everything here is pure.

import type { Limit, Load } from "../api/types.ts";
import { amount } from "./limits.ts";

export interface ShapeField {
  key: string;
  label: string;
  value: string;
  hint: string;
}

export interface Shape {
  id: string;
  title: string;
  text: string;
  name: string;
  fields: ShapeField[];
  load: Load;
  limits: (values: Record<string, number>) => Record<string, Limit>;
}

const MINUTE = 60_000;

export const SHAPES: readonly Shape[] = [
  {
    id: "llm",
    title: "LLM tokens and requests",
    text: "So many tokens and so many requests a minute, both at once. A call says how many tokens it expects.",
    name: "openai/gpt-5",
    fields: [
      { key: "tpm", label: "Tokens a minute", value: "90000", hint: "Each call counts its load." },
      { key: "rpm", label: "Requests a minute", value: "500", hint: "Each call counts one." },
    ],
    load: 2000,
    limits: (values) => ({
      tpm: { kind: "rate", quota: values.tpm ?? 1, window_ms: MINUTE },
      rpm: { kind: "rate", quota: values.rpm ?? 1, window_ms: MINUTE, cost: "one" },
    }),
  },
  {
    id: "concurrent",
    title: "Concurrent calls",
    text: "So many calls at the same time, for a database, a renderer, or an API that counts connections.",
    name: "pdf-render",
    fields: [
      {
        key: "slots",
        label: "Calls at once",
        value: "20",
        hint: "A slot is free again when its holder releases.",
      },
    ],
    load: 1,
    limits: (values) => ({ slots: { kind: "concurrency", quota: values.slots ?? 1 } }),
  },
  {
    id: "burst",
    title: "Burst API",
    text: "A steady rate, and a bucket from which a burst may be taken at once, as many REST APIs allow it.",
    name: "stripe-api",
    fields: [
      { key: "rps", label: "Calls a second", value: "25", hint: "What comes back each second." },
      { key: "burst", label: "Burst", value: "100", hint: "What a full bucket holds." },
    ],
    load: 1,
    limits: (values) => ({
      rps: {
        kind: "rate",
        algorithm: "token_bucket",
        quota: values.rps ?? 1,
        window_ms: 1_000,
        burst: values.burst ?? 1,
        cost: "one",
      },
    }),
  },
];

export const NAME = /^[A-Za-z0-9._:@/+=~\-[\]]{1,256}$/;

export function nameError(name: string): string {
  if (name === "") return "A name is needed.";
  if (name.length > 256) return "A name has at most 256 characters.";
  if (name === "." || name === "..") return "This name would be lost in a path.";
  return NAME.test(name) ? "" : "Letters, digits and . _ : @ / + = ~ - [ ] only.";
}

export interface Draft {
  name: string;
  placement: string;
  values: Record<string, string>;
  maxWaitS: string;
}

export interface Made {
  body: { placement?: string; limits: Record<string, Limit>; queue?: { max_wait_ms: number } };
  errors: Record<string, string>;
}

/** What a form asks the server for, and which of its fields are wrong. */
export function make(shape: Shape, draft: Draft): Made {
  const errors: Record<string, string> = {};
  const wrong = nameError(draft.name);
  if (wrong) errors.name = wrong;

  const values: Record<string, number> = {};
  for (const field of shape.fields) {
    const value = amount(draft.values[field.key] ?? field.value);
    if (value === null) errors[field.key] = "A whole number from 1.";
    else values[field.key] = value;
  }

  const body: Made["body"] = { limits: shape.limits(values) };
  if (draft.placement) body.placement = draft.placement;
  const wait = draft.maxWaitS.trim() === "0" ? 0 : amount(draft.maxWaitS);
  if (wait === null || wait > 31 * 86_400) errors.maxWaitS = "Whole seconds, up to 31 days.";
  else if (wait !== 60) body.queue = { max_wait_ms: wait * 1_000 };
  return { body, errors };
}
