import { Code, Empty } from "../../ui/parts.tsx";
import { curlPut } from "../../words/snippets.ts";

/** What to do when there is nothing yet. */
export function FirstSteps() {
  const line = curlPut(location.origin, "openai", {
    limits: {
      calls: { kind: "concurrency", quota: 8 },
      tokens: { kind: "rate", quota: 90000, window_ms: 60000 },
    },
  });
  return (
    <Empty title="No resources yet">
      <p>
        A resource is a thing with limits, such as an API that you call. Workers acquire from it before they
        call.
      </p>
      <p>
        <a class="button primary" href="#/new">
          Create a resource
        </a>
      </p>
      <Code label="or with curl" text={line} />
    </Empty>
  );
}
