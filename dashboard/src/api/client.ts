// Calls of the API: the key, percent-encoding, and problems as errors.

import { signal } from "@preact/signals";
import type { Problem } from "./types.ts";

const KEY = "ratequeue-key";

/** Whether the server refuses calls for want of a key, or of a better one. */
export const keyRefused = signal(false);

/** Whether a key is being asked for. */
export const keyWanted = signal(false);

/** Rises when another key is given, so that what failed is tried again. */
export const keyVersion = signal(0);

function session(): Storage | null {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null; // Storage is switched off in this browser.
  }
}

// Where there is no storage the key lives as long as the page.
let key = session()?.getItem(KEY) ?? null;

/** Keeps a key for this browser session. */
export function giveKey(given: string): void {
  key = given.trim() || null;
  if (key) session()?.setItem(KEY, key);
  else session()?.removeItem(KEY);
  keyWanted.value = false;
  keyRefused.value = false;
  keyVersion.value += 1;
}

export function hasKey(): boolean {
  return key !== null;
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = "ApiError";
  }

  get status(): number {
    return this.problem.status;
  }
}

/** What to tell people about a failure. */
export function failureWords(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  if (error instanceof TypeError) return "The node does not answer.";
  return error instanceof Error ? error.message : String(error);
}

export function headers(more: Record<string, string> = {}): Headers {
  const all = new Headers(more);
  if (key) all.set("Authorization", `Bearer ${key}`);
  return all;
}

async function problemOf(response: Response): Promise<Problem> {
  const fallback = { status: response.status, code: "", title: response.statusText, detail: "" };
  try {
    return { ...fallback, ...((await response.json()) as Partial<Problem>), status: response.status };
  } catch {
    return { ...fallback, detail: `The node answered ${response.status}.` };
  }
}

/** Throws what the response says went wrong; asks for a key when that is it. */
export async function refuse(response: Response): Promise<never> {
  if (response.status === 401 && !keyRefused.value) {
    // Once: who has said "not now" is not asked again at every attempt.
    keyRefused.value = true;
    keyWanted.value = true;
  }
  throw new ApiError(await problemOf(response));
}

export interface Answer<T> {
  body: T;
  logIndex: string | null;
}

interface Options {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** One call, and the log index at which it was decided. */
export async function call<T>(path: string, options: Options = {}): Promise<Answer<T>> {
  const more: Record<string, string> = { Accept: "application/json", ...options.headers };
  const init: RequestInit = { method: options.method ?? "GET", cache: "no-store" };
  if (options.body !== undefined) {
    more["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  if (options.signal) init.signal = options.signal;

  const response = await fetch(path, { ...init, headers: headers(more) });
  if (!response.ok) return refuse(response);
  keyRefused.value = false;

  const body = response.status === 204 ? undefined : await response.json();
  return { body: body as T, logIndex: response.headers.get("RateQueue-Log-Index") };
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await call<T>(path, signal ? { signal } : {})).body;
}

type Value = string | number | undefined | null;

/** A query of those parameters that have a value, with a `?` when there is one. */
export function query(parameters: Record<string, Value | string[]>): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null || value === "") continue;
    const text = Array.isArray(value) ? value.map(encodeURIComponent).join(",") : encodeURIComponent(value);
    parts.push(`${name}=${text}`);
  }
  return parts.length ? `?${parts.join("&")}` : "";
}

export function resourcePath(name: string, rest = ""): string {
  return `/v1/resources/${encodeURIComponent(name)}${rest}`;
}

export function leasePath(id: string, rest = ""): string {
  return `/v1/leases/${encodeURIComponent(id)}${rest}`;
}

/** A key for one call. `crypto.randomUUID` is missing where the page did not come over HTTPS. */
export function idempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `dash-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
