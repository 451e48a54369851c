/** @jsxImportSource preact */
/** The isolation of the sandbox. */
import type { JSX } from 'preact';
import type { InvocationPage } from '#contract/api/dashboard.ts';
import { bytes, moment } from './format.ts';
import { Card, Facts } from './parts.tsx';

export function Receipt({
  of,
  ended,
}: {
  of: InvocationPage['isolation'] | undefined;
  ended: boolean;
}): JSX.Element {
  if (!of) {
    return (
      <Card title="Isolation">
        <p class="muted">
          {ended
            ? 'No sandbox is known for this invocation.'
            : 'The isolation is shown after the end of the invocation.'}
        </p>
      </Card>
    );
  }
  const { cgroup } = of;
  return (
    <Card title="Isolation" note={of.mode === 'request' ? 'for this call only' : 'kept for later calls'}>
      <Facts
        of={[
          [
            'Sandbox',
            <span class="mono" key="s">
              {of.sandbox}
            </span>,
          ],
          ['Created', moment(of.at)],
          [
            'Linux namespaces',
            <span class="pills" key="n">
              {Object.entries(of.namespaces).map(([name, inode]) => (
                <span key={name} class="tag" title={`inode ${inode}`}>
                  {name}
                </span>
              ))}
            </span>,
          ],
          ['User', `${of.uid.inside} inside, ${of.uid.host} on the host`],
          [
            'System calls',
            <span key="f">
              filtered, <span class="mono">{of.seccomp.slice(0, 12)}</span>
            </span>,
          ],
          ['Landlock', of.landlock > 0 ? `ABI ${of.landlock}` : 'not on this host'],
          ['Branch speculation', of.branchSpeculation],
          [
            'Limits',
            `${bytes(cgroup.memoryBytes)}${cgroup.swapLimited ? ', no swap' : ''}, ${cgroup.cpu} ${cgroup.cpu === 1 ? 'processor' : 'processors'}, ${cgroup.pids} processes`,
          ],
          ['Network', of.network === 'none' ? 'none' : 'destinations of its rules'],
          [
            'Image',
            <span class="mono" key="i">
              {of.image.slice(0, 12)}
            </span>,
          ],
          [
            'Code',
            <span class="mono" key="c">
              {of.code.slice(0, 12)}
            </span>,
          ],
        ]}
      />
    </Card>
  );
}
