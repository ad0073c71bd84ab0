// Whether the page is live. A lost connection is said in words, and when the next attempt comes.

import { signal } from "@preact/signals";
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

/** Says below the header what a lost connection means. */
export function LostBanner() {
  const link = shownLink.value;
  if (link?.state !== "lost") return null;
  tick.value; // It counts the seconds.
  const now = Date.now();
  const next = Math.max(0, link.retryAt - now);
  return (
    <div class="banner" role="status">
      <strong>Connection lost.</strong> <span>{link.why}</span>{" "}
      <span>
        Figures are {duration(Math.floor((now - link.since) / 1000) * 1000)} old.{" "}
        {next > 0 ? `Next attempt in ${duration(Math.ceil(next / 1000) * 1000)}.` : "Trying again."}
      </span>
    </div>
  );
}
