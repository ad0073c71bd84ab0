// Whether the page is live. A lost connection is said in words, and when the next attempt comes.

import { signal } from "@preact/signals";
import { keyRefused } from "../api/client.ts";
import type { Link } from "../api/events.ts";
import { tick } from "../live/ticker.ts";
import { duration } from "../words/format.ts";

/** The stream of the view that is shown; null where a view has none. */
export const shownLink = signal<Link | null>(null);

export function LinkBadge() {
  const link = shownLink.value;
  if (!link) return null;
  const words = { live: "Live", connecting: "Connecting", lost: "Reconnecting" }[link.state];
  return (
    <span class={`badge link-${link.state}`} role="status">
      <span class="dot" aria-hidden="true" />
      {words}
    </span>
  );
}

/** A connection that is back at once is not worth a banner. */
const BANNER_AFTER_MS = 1_000;

function seconds(ms: number): string {
  return duration(Math.max(1, Math.round(ms / 1_000)) * 1_000);
}

/** Says below the header what a lost connection means. */
export function LostBanner() {
  const link = shownLink.value;
  tick.value; // It counts the seconds.
  const now = Date.now();
  if (link?.state !== "lost" || keyRefused.value || now - link.since < BANNER_AFTER_MS) return null;
  const next = link.retryAt - now;
  return (
    <div class="banner" role="status">
      <strong>Connection lost.</strong> {link.why} Lost {seconds(now - link.since)} ago.{" "}
      {next > 0 ? `Next attempt in ${seconds(next)}.` : "Trying again."}
    </div>
  );
}
