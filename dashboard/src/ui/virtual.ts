// Which rows of a long list are on the screen. All rows of a list are of one height, so this is a division.

import type { RefObject } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

export interface Range {
  first: number;
  /** One past the last. */
  end: number;
}

/** The rows that a window of the list touches, and some on both sides of it so that scrolling shows no holes. */
export function rangeOf(top: number, height: number, row: number, count: number, spare = 6): Range {
  const first = Math.max(0, Math.min(count, Math.floor(top / row) - spare));
  const end = Math.max(first, Math.min(count, Math.ceil((top + height) / row) + spare));
  return { first, end };
}

/** Follows the page as it scrolls past a list in it. */
export function useWindowRange(list: RefObject<HTMLElement | null>, row: number, count: number): Range {
  const [range, setRange] = useState<Range>({ first: 0, end: Math.min(count, 40) });

  useLayoutEffect(() => {
    const measure = () => {
      if (!list.current) return;
      const top = -list.current.getBoundingClientRect().top;
      const next = rangeOf(top, innerHeight, row, count);
      setRange((old) => (old.first === next.first && old.end === next.end ? old : next));
    };
    measure();
    addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [list, row, count]);

  return range;
}

/** Follows a box that scrolls by itself. */
export function useBoxRange(box: RefObject<HTMLElement | null>, row: number, count: number): Range {
  const [range, setRange] = useState<Range>({ first: 0, end: Math.min(count, 20) });

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => {
      const next = rangeOf(element.scrollTop, element.clientHeight, row, count);
      setRange((old) => (old.first === next.first && old.end === next.end ? old : next));
    };
    measure();
    element.addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      element.removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [box, row, count]);

  return range;
}

/** Whether a media query holds, as it changes. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useLayoutEffect(() => {
    const media = matchMedia(query);
    const read = () => setHolds(media.matches);
    read();
    media.addEventListener("change", read);
    return () => media.removeEventListener("change", read);
  }, [query]);
  return holds;
}
