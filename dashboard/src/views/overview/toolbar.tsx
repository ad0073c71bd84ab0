import { useEffect, useRef } from "preact/hooks";
import type { Filter, Sort, State } from "../../live/order.ts";
import { type Choice, Segments } from "../../ui/parts.tsx";

const STATES: readonly Choice<State>[] = [
  { value: "all", label: "All" },
  { value: "waiting", label: "Waiting" },
  { value: "full", label: "Full" },
  { value: "busy", label: "In use" },
  { value: "idle", label: "Idle" },
];

const SORTS: readonly Choice<Sort>[] = [
  { value: "hottest", label: "Hottest first" },
  { value: "waiting", label: "Most waiting" },
  { value: "throughput", label: "Most granted" },
  { value: "utilization", label: "Fullest" },
  { value: "name", label: "Name" },
];

interface Props {
  filter: Filter;
  sort: Sort;
  onFilter: (filter: Filter) => void;
  onSort: (sort: Sort) => void;
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}

export function Toolbar({ filter, sort, onFilter, onSort }: Props) {
  const search = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || isTyping(event.target)) return;
      event.preventDefault();
      search.current?.focus();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);

  return (
    <search class="toolbar">
      <label class="search">
        <span class="sr">Search resources</span>
        <input
          ref={search}
          type="search"
          placeholder="Search resources"
          title="Press / to search"
          value={filter.text}
          onInput={(event) => onFilter({ ...filter, text: event.currentTarget.value.toLowerCase() })}
        />
      </label>
      <Segments
        name="state"
        label="State"
        value={filter.state}
        choices={STATES}
        onChange={(state) => onFilter({ ...filter, state })}
      />
      <span class="grow" />
      <label class="sort">
        <span class="sr">Order</span>
        <select value={sort} onChange={(event) => onSort(event.currentTarget.value as Sort)}>
          {SORTS.map((choice) => (
            <option key={choice.value} value={choice.value}>
              {choice.label}
            </option>
          ))}
        </select>
      </label>
    </search>
  );
}
