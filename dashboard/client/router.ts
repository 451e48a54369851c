/** The current address. Links are plain links; those within the dashboard change the page without loading the document again. */
import { useEffect, useState } from 'preact/hooks';

const MOVED = 'offshoot:moved';

export function go(path: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, '', path);
  else history.pushState(null, '', path);
  dispatchEvent(new Event(MOVED));
}

export function useLocation(): { path: string; query: URLSearchParams } {
  const [href, setHref] = useState(location.pathname + location.search);
  useEffect(() => {
    const look = (): void => setHref(location.pathname + location.search);
    addEventListener(MOVED, look);
    addEventListener('popstate', look);
    return () => {
      removeEventListener(MOVED, look);
      removeEventListener('popstate', look);
    };
  }, []);
  const [path = '', query = ''] = href.split('?');
  return { path, query: new URLSearchParams(query) };
}

/** Takes over clicks on links within the dashboard; the browser handles those that ask for another tab. */
export function takeOverLinks(): void {
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest('a');
    if (!link || link.target || link.origin !== location.origin) return;
    if (link.pathname !== '/dashboard' && !link.pathname.startsWith('/dashboard/')) return;
    event.preventDefault();
    go(link.pathname + link.search);
    scrollTo(0, 0);
  });
}
