/** The reader of a view of the dashboard. */
import type { ApiKeyRecord } from '#contract/api/api.ts';
import type { AppDeps } from '../routes/endpoint.ts';

export interface Viewer {
  readonly deps: AppDeps;
  /** The key behind the session; a view shows nothing beyond its namespace. */
  readonly holder: ApiKeyRecord;
}
