/** @jsxImportSource preact */
/** The sign-in page: exchanges an API key for a session. */
import type { JSX, TargetedEvent } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ask, Refused, type Refusal } from '../client/api.ts';
import { Problem } from '../parts/parts.tsx';
import { state } from '../client/session.ts';

export function SignIn(): JSX.Element {
  const [key, setKey] = useState('');
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Refusal>();
  useEffect(() => {
    document.title = 'Sign in · Offshoot';
  }, []);
  const submit = (event: TargetedEvent<HTMLFormElement>): void => {
    event.preventDefault();
    setBusy(true);
    setRefusal(undefined);
    ask('POST', '/dashboard/session', { key })
      // After a reload, the document carries the secret of the session.
      .then(() => location.reload())
      .catch((error: unknown) => {
        setBusy(false);
        if (error instanceof Refused) setRefusal(error.refusal);
      });
  };
  if (!state.usable) return <NotHere />;
  return (
    <main class="sign-in">
      <form onSubmit={submit}>
        <img src="/dashboard/assets/icon.svg" alt="" width="44" height="44" />
        <h1>Sign in to Offshoot</h1>
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autoComplete="current-password"
          required
          spellcheck={false}
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
          aria-describedby="key-help"
        />
        <button type="submit" class="primary" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
        {refusal && <Problem refusal={refusal} />}
        <p id="key-help" class="muted small">
          Any key with the scope <code>read</code>. Other scopes of the key decide which actions you may take
          here. To create a key:
        </p>
        <pre class="command">offshoot keys create --scope read</pre>
      </form>
    </main>
  );
}

function NotHere(): JSX.Element {
  return (
    <main class="sign-in">
      <form>
        <h1>This address is not safe to sign in at</h1>
        <p>
          Over plain http from another host, others could read your key on its way, and the browser does not
          protect this page from pages of functions. Use https, or a tunnel:
        </p>
        <pre class="command">{`ssh -L 8787:127.0.0.1:${location.port || '80'} ${location.hostname}`}</pre>
        <p>
          Then open <code>http://127.0.0.1:8787/dashboard</code>.
        </p>
      </form>
    </main>
  );
}
