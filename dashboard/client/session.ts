/** The signed-in user, as the gateway has written it into the document. */
import type { SignedIn } from '#contract/api/dashboard.ts';

interface DocumentState {
  readonly session?: SignedIn;
  /** False over plain http from another host: browsers do not protect pages of such an address from each other. */
  readonly usable: boolean;
}

const written = document.querySelector<HTMLMetaElement>('meta[name=offshoot]')?.content ?? '{"usable":false}';
export const state = JSON.parse(written) as DocumentState;

export function may(scope: string): boolean {
  return state.session?.scopes.includes(scope) ?? false;
}
