// A new resource from one of the common shapes, with the lines that create and use it.

import { useEffect, useState } from "preact/hooks";
import { ApiError, call, failureWords, idempotencyKey, resourcePath } from "../../api/client.ts";
import type { Resource } from "../../api/types.ts";
import { cluster, readCluster } from "../../live/cluster.ts";
import { resourceHref } from "../../router.ts";
import { Code, Problem } from "../../ui/parts.tsx";
import { count } from "../../words/format.ts";
import { limitWords } from "../../words/limits.ts";
import { type Draft, make, SHAPES, type Shape } from "../../words/shapes.ts";
import { curlAcquire, curlPut, python } from "../../words/snippets.ts";
import { CreateForm } from "./form.tsx";

const FIRST = SHAPES[0] as Shape;

function emptyDraft(): Draft {
  return { name: "", placement: "", values: {}, maxWaitS: "60" };
}

interface Created {
  name: string;
  index: string | null;
}

export function CreatePage() {
  const [shape, setShape] = useState<Shape>(FIRST);
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [created, setCreated] = useState<Created | null>(null);
  useEffect(() => {
    if (!cluster.value) void readCluster();
  }, []);

  const made = make(shape, draft);
  const choose = (next: Shape) => {
    setShape(next);
    setDraft({ ...draft, values: {} });
  };

  const submit = async (event: Event) => {
    event.preventDefault();
    setTried(true);
    if (busy || Object.keys(made.errors).length > 0) return;
    setBusy(true);
    setError("");
    try {
      const answer = await call<Resource>(resourcePath(draft.name), {
        method: "PUT",
        body: made.body,
        headers: { "If-None-Match": "*", "Idempotency-Key": idempotencyKey() },
      });
      setCreated({ name: answer.body.name, index: answer.logIndex });
      setDraft(emptyDraft());
      setTried(false);
    } catch (failure) {
      const taken = failure instanceof ApiError && failure.status === 412;
      setError(
        taken ? `${draft.name} exists already: change its limits on its page.` : failureWords(failure),
      );
    } finally {
      setBusy(false);
    }
  };

  const name = draft.name || created?.name || shape.name;
  const waitMs = Math.min(30_000, made.body.queue?.max_wait_ms ?? 60_000);
  return (
    <>
      <div class="page-head">
        <h1>New resource</h1>
      </div>
      {created && (
        <p class="done" role="status">
          <a href={resourceHref(created.name)}>{created.name}</a> is there
          {created.index && <> since log index {count(Number(created.index))}</>}. Workers can acquire from it
          now.
        </p>
      )}
      {error && <Problem text={error} />}
      <div class="create">
        <CreateForm
          shape={shape}
          draft={draft}
          errors={tried ? made.errors : {}}
          busy={busy}
          onShape={choose}
          onDraft={setDraft}
          onSubmit={submit}
        />
        <section class="card list" aria-label="What it means">
          <h2>What it means</h2>
          <ul class="meaning">
            {Object.entries(made.body.limits).map(([key, limit]) => (
              <li key={key}>
                <code>{key}</code> {limitWords(limit)}
              </li>
            ))}
          </ul>
          <Code label="Use it from Python" text={python(location.origin, name, shape.load, waitMs / 1_000)} />
          <Code label="Use it with curl" text={curlAcquire(location.origin, name, shape.load, waitMs)} />
          <Code label="Create it with curl" text={curlPut(location.origin, name, made.body)} />
        </section>
      </div>
    </>
  );
}
