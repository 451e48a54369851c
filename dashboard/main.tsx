/** @jsxImportSource preact */
/** The dashboard: frame, navigation, and the page of each address. */
import { render, type JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask } from './client/api.ts';
import { Batches } from './pages/batches.tsx';
import { OneFunction } from './pages/function.tsx';
import { Functions } from './pages/functions.tsx';
import { OneInvocation } from './pages/invocation.tsx';
import { Invocations } from './pages/invocations.tsx';
import { Namespaces } from './pages/namespaces.tsx';
import { Queues } from './pages/queues.tsx';
import { Schedules } from './pages/schedules.tsx';
import { SignIn } from './pages/sign-in.tsx';
import { OneTrace } from './pages/trace.tsx';
import { Workers } from './pages/workers.tsx';
import { Empty } from './parts/parts.tsx';
import { takeOverLinks, useLocation } from './client/router.ts';
import { state } from './client/session.ts';

const SECTIONS = [
  ['functions', 'Functions'],
  ['invocations', 'Invocations'],
  ['queues', 'Queues'],
  ['batches', 'Batches'],
  ['schedules', 'Schedules'],
  ['workers', 'Workers'],
  ['namespaces', 'Namespaces'],
] as const;

function App(): JSX.Element {
  const { path, query } = useLocation();
  const [, section = 'functions', ...rest] = path.slice(1).split('/').map(decodeURIComponent);
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <header class="side">
        <a class="brand" href="/dashboard">
          <img src="/dashboard/assets/icon.svg" alt="" width="26" height="26" />
          Offshoot
        </a>
        <nav aria-label="Sections">
          {SECTIONS.map(([key, name]) => (
            <a
              key={key}
              href={key === 'functions' ? '/dashboard' : `/dashboard/${key}`}
              aria-current={isIn(key, section) ? 'page' : undefined}
            >
              {name}
            </a>
          ))}
        </nav>
        <Account />
      </header>
      <main id="content" tabIndex={-1}>
        {pageOf(section, rest, query)}
      </main>
    </>
  );
}

function isIn(key: string, section: string): boolean {
  if (section === '') return key === 'functions';
  return key === (section === 'traces' ? 'invocations' : section);
}

function pageOf(section: string, rest: readonly string[], query: URLSearchParams): JSX.Element {
  const [first, second] = rest;
  if ((section === 'functions' || section === '') && first === undefined) return <Functions />;
  if (section === 'functions' && first !== undefined && second !== undefined)
    return <OneFunction key={`${first}/${second}`} namespace={first} name={second} query={query} />;
  if (section === 'invocations')
    return first === undefined ? <Invocations query={query} /> : <OneInvocation key={first} id={first} />;
  if (section === 'traces' && first !== undefined)
    return <OneTrace key={first} id={first} invocation={query.get('invocation') ?? undefined} />;
  if (section === 'queues') return <Queues />;
  if (section === 'batches') return <Batches />;
  if (section === 'schedules') return <Schedules />;
  if (section === 'workers') return <Workers />;
  if (section === 'namespaces') return <Namespaces />;
  return (
    <>
      <h1>Not found</h1>
      <Empty title="There is no such page.">
        <a href="/dashboard">See the functions</a>
      </Empty>
    </>
  );
}

const THEMES = ['system', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];
const THEME_KEY = 'offshoot-theme';

function keptTheme(): Theme {
  const kept = localStorage.getItem(THEME_KEY);
  return THEMES.find((theme) => theme === kept) ?? 'system';
}

function signOut(): void {
  void ask('DELETE', '/dashboard/session').finally(() => location.assign('/dashboard'));
}

function Account(): JSX.Element {
  const [theme, setTheme] = useState(keptTheme);
  useEffect(() => {
    localStorage.setItem(THEME_KEY, theme);
    document.documentElement.dataset['theme'] = theme;
  }, [theme]);
  const { namespace = '', scopes = [], version = '' } = state.session ?? {};
  return (
    <div class="account">
      <label class="theme">
        Theme
        <select value={theme} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
          {THEMES.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
      </label>
      <p class="whoami">
        <span>{namespace === '*' ? 'all namespaces' : namespace}</span>
        <span class="muted">{scopes.join(', ')}</span>
      </p>
      <button type="button" onClick={signOut}>
        Sign out
      </button>
      <p class="muted small">Offshoot {version}</p>
    </div>
  );
}

document.documentElement.dataset['theme'] = keptTheme();
const root = document.getElementById('app');
if (root) {
  takeOverLinks();
  render(state.session ? <App /> : <SignIn />, root);
}
