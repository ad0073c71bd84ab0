// Changes limits in place: what is typed, what it would do, and where in the log it took effect.

import { useState } from "preact/hooks";
import { ApiError, failureWords } from "../../api/client.ts";
import type { Resource } from "../../api/types.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { Problem } from "../../ui/parts.tsx";
import { count } from "../../words/format.ts";
import { draftOf, type LimitDraft, limitWords, preview } from "../../words/limits.ts";

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: string;
}

function Field({ label, value, onInput, hint }: FieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        inputMode="numeric"
        autocomplete="off"
        value={value}
        placeholder={hint ?? ""}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </label>
  );
}

interface Props {
  model: ResourceModel;
  resource: Resource;
  onClose: () => void;
  onDone: (said: string) => void;
}

export function EditLimits({ model, resource, onClose, onDone }: Props) {
  // What is edited is the version that was there at the opening; If-Match refuses another.
  const [base, setBase] = useState(resource);
  const [drafts, setDrafts] = useState<Record<string, LimitDraft>>(() => draftsOf(resource));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const change = preview(base, drafts, model.snapshot.value?.stats ?? null);
  const ready = change.lines.length > 0 && Object.keys(change.errors).length === 0;

  const set = (name: string, field: keyof LimitDraft, value: string) => {
    const draft = drafts[name];
    if (draft) setDrafts({ ...drafts, [name]: { ...draft, [field]: value } });
  };

  const apply = async (event: Event) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    setError("");
    try {
      const done = await model.patch(change.patch, base.version);
      onDone(`Version ${count(done.version)} took effect at log index ${count(Number(done.index))}.`);
      onClose();
    } catch (failure) {
      setError(failureWords(failure));
      if (failure instanceof ApiError && failure.status === 412) {
        await model.readResource();
        if (model.resource.value) setBase(model.resource.value);
        setError(
          "Somebody else has changed it meanwhile. The preview now shows the change of the newest version.",
        );
      }
      setBusy(false);
    }
  };

  return (
    <Dialog title={`Change limits of ${resource.name}`} onClose={onClose} wide>
      <form onSubmit={apply}>
        {Object.entries(base.limits).map(([name, limit]) => {
          const draft = drafts[name];
          if (!draft) return null;
          return (
            <fieldset key={name} class="limit-edit">
              <legend>
                <code>{name}</code> <span class="muted">{limitWords(limit)}</span>
              </legend>
              <Field
                label={limit.kind === "rate" ? "Quota" : "At once"}
                value={draft.quota}
                onInput={(value) => set(name, "quota", value)}
              />
              {limit.kind === "rate" && (
                <Field
                  label="Window (ms)"
                  value={draft.window_ms}
                  onInput={(value) => set(name, "window_ms", value)}
                />
              )}
              {limit.algorithm === "token_bucket" && (
                <Field
                  label="Burst"
                  hint="as the quota"
                  value={draft.burst}
                  onInput={(value) => set(name, "burst", value)}
                />
              )}
              {change.errors[name] && <p class="field-error">{change.errors[name]}</p>}
            </fieldset>
          );
        })}
        <div class="preview" aria-live="polite">
          <h3>Preview</h3>
          {change.lines.length === 0 ? (
            <p class="muted">Nothing is changed yet.</p>
          ) : (
            <ul>
              {change.lines.map((line) => (
                <li key={line}>{line}</li>
              ))}
            </ul>
          )}
        </div>
        {error && <Problem text={error} />}
        <div class="actions">
          <button type="button" class="button" onClick={onClose}>
            Leave as it is
          </button>
          <button type="submit" class="button primary" disabled={!ready || busy}>
            Apply
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function draftsOf(resource: Resource): Record<string, LimitDraft> {
  return Object.fromEntries(Object.entries(resource.limits).map(([name, limit]) => [name, draftOf(limit)]));
}
