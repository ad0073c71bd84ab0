// Small pieces that several views use.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Sentence } from "../words/blocks.ts";
import { percent } from "../words/format.ts";

/** How full something is: the text says it, the bar adds to it. */
export function Meter({ ratio, label }: { ratio: number | null; label?: string }) {
  const share = Math.max(0, Math.min(1, ratio ?? 0));
  const tone = ratio === null ? "" : ratio >= 0.995 ? "full" : ratio >= 0.8 ? "high" : "";
  return (
    <span class="meter">
      <span class="meter-text">
        {label !== undefined && <span class="meter-name">{label}</span>}
        <span class="num">{percent(ratio)}</span>
      </span>
      <span class="meter-bar" aria-hidden="true">
        <span class={`meter-fill ${tone}`} style={{ transform: `scaleX(${share})` }} />
      </span>
    </span>
  );
}

export function Words({ of }: { of: Sentence }) {
  return <>{of.map((piece, i) => (typeof piece === "string" ? piece : <code key={i}>{piece.code}</code>))}</>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Problem({ text, retry }: { text: string; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <span>{text}</span>
      {retry && (
        <button type="button" class="button small" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // Browsers allow it over HTTPS and on localhost only.
  }
}

/** Lines to copy, with a button that copies them where the browser lets it. */
export function Code({ text, label }: { text: string; label: string }) {
  const [said, say] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => say(""), 2_000);
    return () => clearTimeout(timer);
  }, [said]);

  const copy = async () => say((await copyText(text)) ? "Copied" : "Select and copy");
  return (
    <figure class="code">
      <figcaption>
        <span>{label}</span>
        <button type="button" class="button small quiet" onClick={copy} aria-label={`Copy ${label}`}>
          <span aria-live="polite">{said || "Copy"}</span>
        </button>
      </figcaption>
      <pre tabIndex={0}>{text}</pre>
    </figure>
  );
}

export interface Choice<T extends string> {
  value: T;
  label: string;
}

interface SegmentsProps<T extends string> {
  name: string;
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
}

/** One of a few: radio buttons that look like one control. */
export function Segments<T extends string>({ name, label, value, choices, onChange }: SegmentsProps<T>) {
  return (
    <fieldset class="segments">
      <legend class="sr">{label}</legend>
      {choices.map((choice) => (
        <label key={choice.value} class={choice.value === value ? "on" : ""}>
          <input
            type="radio"
            name={name}
            value={choice.value}
            checked={choice.value === value}
            onChange={() => onChange(choice.value)}
          />
          {choice.label}
        </label>
      ))}
    </fieldset>
  );
}
