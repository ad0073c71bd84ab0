/** The strings that came with the acquire. They are the caller's, and shown as text only. */
export function Metadata({ of }: { of: Record<string, string> | null | undefined }) {
  const pairs = Object.entries(of ?? {});
  if (pairs.length === 0) return null;
  return (
    <span class="metadata">
      {pairs.map(([key, value]) => (
        <span key={key} class="tag" title={`${key}: ${value}`}>
          <span class="muted">{key}</span> {value}
        </span>
      ))}
    </span>
  );
}
