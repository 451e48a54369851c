/**
 * A live view: server-sent events, read by fetch because each request must carry the page's secret and EventSource cannot. One
 * stream for each page; it ends while the page is hidden, and begins again when the page is visible.
 */
import { useEffect, useState } from 'preact/hooks';
import type { Pages } from '#contract/api/dashboard.ts';
import { AWAY, pageHeaders, refusalOf, type Refusal } from './api.ts';

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export type LinkState = 'connecting' | 'live' | 'lost';

export interface LiveView<T> {
  readonly data: T | undefined;
  readonly refusal: Refusal | undefined;
  readonly link: LinkState;
}

export function useLive<K extends keyof Pages>(
  view: K,
  params: Readonly<Record<string, string>>,
): LiveView<Pages[K]> {
  const query = new URLSearchParams(params).toString();
  const path = `/dashboard/live/${view}${query && `?${query}`}`;
  const [shown, show] = useState<LiveView<Pages[K]> & { path: string }>({
    data: undefined,
    refusal: undefined,
    link: 'connecting',
    path,
  });
  useEffect(() => {
    const ending = new AbortController();
    void follow<Pages[K]>(path, ending.signal, (change) =>
      show((before) => ({ ...before, ...change, path })),
    );
    return () => ending.abort();
  }, [path]);
  // The figures of another function must not appear under this one's name. The list of invocations may show its last rows under
  // a new filter.
  const isOther = shown.path !== path && view !== 'invocations';
  return isOther ? { data: undefined, refusal: undefined, link: 'connecting' } : shown;
}

async function follow<T>(
  path: string,
  signal: AbortSignal,
  change: (change: Partial<LiveView<T>>) => void,
): Promise<void> {
  let wait = FIRST_RETRY_MS;
  while (!signal.aborted) {
    if (document.hidden) await visible(signal);
    const stream = new AbortController();
    const hide = (): void => {
      if (document.hidden) stream.abort();
    };
    const end = (): void => stream.abort();
    document.addEventListener('visibilitychange', hide);
    signal.addEventListener('abort', end);
    try {
      const response = await fetch(path, { headers: pageHeaders(), signal: stream.signal });
      if (!response.ok || !response.body) {
        const refusal = await refusalOf(response);
        if (refusal.code === 'unauthorized') return location.reload();
        change({ refusal, link: 'lost' });
      } else {
        for await (const { event, data } of events(response.body)) {
          if (event === 'view') {
            wait = FIRST_RETRY_MS;
            change({ data: JSON.parse(data) as T, refusal: undefined, link: 'live' });
          }
          if (event !== 'refused') continue;
          const { error } = JSON.parse(data) as { error: Refusal };
          if (error.code === 'unauthorized') return location.reload();
          change({ refusal: error, link: 'lost' });
        }
      }
    } catch {
      if (!stream.signal.aborted) change({ refusal: AWAY, link: 'lost' });
    } finally {
      document.removeEventListener('visibilitychange', hide);
      signal.removeEventListener('abort', end);
    }
    if (stream.signal.aborted) continue;
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, LAST_RETRY_MS);
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as the gateway uses it. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{ event: string; data: string }> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
      const fields = new Map<string, string>();
      for (const line of text.slice(0, end).split('\n')) {
        const colon = line.indexOf(':');
        if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trimStart());
      }
      text = text.slice(end + 2);
      yield { event: fields.get('event') ?? 'message', data: fields.get('data') ?? '' };
    }
  }
}

function visible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', look);
      resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', look, { once: true });
  });
}
