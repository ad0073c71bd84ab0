import { useState } from "preact/hooks";
import { giveKey, hasKey, keyRefused, keyWanted } from "../api/client.ts";
import { Dialog } from "./dialog.tsx";

/** Asks for an API key once the server has refused a call without one. */
export function KeyDialog() {
  const [key, setKey] = useState("");
  if (!keyWanted.value) return null;

  const submit = (event: Event) => {
    event.preventDefault();
    if (key.trim()) giveKey(key);
  };
  const close = () => {
    keyWanted.value = false;
  };

  return (
    <Dialog title="API key" onClose={close}>
      <form onSubmit={submit}>
        <p class="muted">
          {hasKey() && "The key was not accepted. "}This server takes calls with a key only. The page keeps it
          until the browser session ends, and sends it nowhere else.
        </p>
        <label class="field">
          <span>Key</span>
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            placeholder="rq_…"
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        <div class="actions">
          <button type="button" class="button" onClick={close}>
            Not now
          </button>
          <button type="submit" class="button primary" disabled={!key.trim()}>
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** The way back to the question, for who has put it off. */
export function KeyBanner() {
  if (!keyRefused.value || keyWanted.value) return null;
  const ask = () => {
    keyWanted.value = true;
  };
  return (
    <div class="banner" role="status">
      This server takes calls with a key only.{" "}
      <button type="button" class="button small" onClick={ask}>
        Give a key
      </button>
    </div>
  );
}
