import { cluster } from "../../live/cluster.ts";
import { type Draft, SHAPES, type Shape } from "../../words/shapes.ts";

interface Props {
  shape: Shape;
  draft: Draft;
  errors: Record<string, string>;
  busy: boolean;
  onShape: (shape: Shape) => void;
  onDraft: (draft: Draft) => void;
  onSubmit: (event: Event) => void;
}

interface FieldProps {
  label: string;
  value: string;
  hint: string;
  error: string | undefined;
  numeric?: boolean;
  placeholder?: string;
  onInput: (value: string) => void;
}

function Field({ label, value, hint, error, numeric, placeholder, onInput }: FieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        inputMode={numeric ? "numeric" : "text"}
        autocomplete="off"
        spellcheck={false}
        aria-invalid={error ? "true" : undefined}
        value={value}
        placeholder={placeholder ?? ""}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {error ? <span class="field-error">{error}</span> : <span class="hint">{hint}</span>}
    </label>
  );
}

function Placement({ draft, onDraft }: Pick<Props, "draft" | "onDraft">) {
  const view = cluster.value;
  const regions = Object.keys(view?.regions ?? {});
  if (regions.length < 2) return null;
  return (
    <label class="field">
      <span>Placement</span>
      <select
        value={draft.placement}
        onChange={(event) => onDraft({ ...draft, placement: event.currentTarget.value })}
      >
        <option value="">The region of this node</option>
        {regions.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
        <option value="global">global</option>
      </select>
      <span class="hint">
        A region decides by itself. global is one limit over all regions, and slower. It cannot be changed
        later.
      </span>
    </label>
  );
}

export function CreateForm({ shape, draft, errors, busy, onShape, onDraft, onSubmit }: Props) {
  return (
    <form class="card list" onSubmit={onSubmit} noValidate>
      <fieldset class="shapes">
        <legend>Shape</legend>
        {SHAPES.map((choice) => (
          <label key={choice.id} class={`shape ${choice === shape ? "on" : ""}`}>
            <input type="radio" name="shape" checked={choice === shape} onChange={() => onShape(choice)} />
            <span class="shape-title">{choice.title}</span>
            <span class="shape-text">{choice.text}</span>
          </label>
        ))}
      </fieldset>
      <Field
        label="Name"
        value={draft.name}
        placeholder={shape.name}
        hint="What workers acquire. Letters, digits and . _ : @ / + = ~ - [ ]"
        error={errors.name}
        onInput={(name) => onDraft({ ...draft, name })}
      />
      <div class="field-row">
        {shape.fields.map((field) => (
          <Field
            key={field.key}
            label={field.label}
            value={draft.values[field.key] ?? field.value}
            hint={field.hint}
            error={errors[field.key]}
            numeric
            onInput={(value) => onDraft({ ...draft, values: { ...draft.values, [field.key]: value } })}
          />
        ))}
      </div>
      <Field
        label="Longest wait in the queue (s)"
        value={draft.maxWaitS}
        hint="0: nobody waits, what does not fit is refused."
        error={errors.maxWaitS}
        numeric
        onInput={(maxWaitS) => onDraft({ ...draft, maxWaitS })}
      />
      <Placement draft={draft} onDraft={onDraft} />
      <div class="actions">
        <button type="submit" class="button primary" disabled={busy}>
          Create
        </button>
      </div>
    </form>
  );
}
