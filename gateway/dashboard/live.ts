/**
 * Serves a view as server-sent events: at once, and again whenever it has changed. Each open page has one stream, which the
 * browser ends while the page is hidden. The number of streams is bounded, because each reads Redis once or twice a second.
 */
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { ApiKeyRecord } from '#contract/api/api.ts';
import { OffshootError } from '#contract/api/errors.ts';
import type { AppDeps, AppEnv } from '../routes/endpoint.ts';
import { redisError } from '#storage/redis/redis.ts';
import type { Session } from './sessions.ts';
import { jsonText } from '../call/json-parts.ts';
import { VIEWS } from './views.ts';

const MAX_STREAMS = 200;
const MAX_STREAMS_OF_SESSION = 10;
/** Silence after which a comment is sent, so that proxies do not close a quiet stream. */
const COMMENT_MS = 15_000;
/** Interval between checks that the session still exists. */
const CHECK_MS = 5_000;
/** Time after which a stream ends; the browser then opens a new one. */
const LONGEST_MS = 3_600_000;

export class Live {
  readonly #deps: AppDeps;
  /** Views that were read a moment ago, shared by all pages that show the same one. */
  readonly #looks = new Map<string, Promise<string>>();
  readonly #open = new Map<string, number>();
  #total = 0;

  constructor(deps: AppDeps) {
    this.#deps = deps;
  }

  /** Answers with the stream. `again` looks up the session anew. Throws for invalid parameters. */
  answer(
    context: Context<AppEnv>,
    name: string,
    session: Session,
    again: () => Promise<Session | undefined>,
  ): Response {
    if (!isView(name)) throw new OffshootError('not_found', `there is no view "${name}"`);
    const { params, everyMs } = VIEWS[name] as unknown as AnyView;
    const parsed = params.safeParse(context.req.query());
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new OffshootError('bad_request', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
    }
    this.#take(session);
    let { holder } = session;
    return streamSSE(context, async (stream) => {
      try {
        const begun = performance.now();
        let shown = '';
        let quietSince = begun;
        let checkedAt = begun;
        while (!stream.aborted && !stream.closed) {
          const now = performance.now();
          if (now - begun > LONGEST_MS) return;
          if (now - checkedAt > CHECK_MS) {
            const found = await again();
            if (!found) throw new OffshootError('unauthorized', 'you were signed out');
            ({ holder } = found);
            checkedAt = now;
          }
          const data = await this.#look(name, parsed.data, holder);
          if (data !== shown) {
            await stream.writeSSE({ event: 'view', data });
            shown = data;
            quietSince = now;
          } else if (now - quietSince > COMMENT_MS) {
            await stream.write(': nothing new\n\n');
            quietSince = now;
          }
          await stream.sleep(everyMs);
        }
      } catch (error) {
        const refusal = error instanceof OffshootError ? error : redisError(error);
        if (refusal.code === 'internal') this.#deps.log.error({ err: error, view: name }, 'a view failed');
        await stream.writeSSE({ event: 'refused', data: JSON.stringify(refusal.toBody()) });
      } finally {
        this.#release(session);
      }
    });
  }

  /** Reads a view, or shares a reading: a view depends on the viewer's namespace and on nothing else of the viewer. */
  async #look(name: keyof typeof VIEWS, params: unknown, holder: ApiKeyRecord): Promise<string> {
    const key = JSON.stringify([name, params, holder.namespace]);
    const { look, everyMs } = VIEWS[name] as unknown as AnyView;
    let looking = this.#looks.get(key);
    if (!looking) {
      looking = look({ deps: this.#deps, holder }, params as Record<string, never>).then((found) =>
        jsonText(found, JSON.stringify),
      );
      this.#looks.set(key, looking);
      setTimeout(() => this.#looks.delete(key), everyMs / 2).unref();
    }
    return await looking;
  }

  #take({ hash }: Session): void {
    const own = this.#open.get(hash) ?? 0;
    if (own >= MAX_STREAMS_OF_SESSION || this.#total >= MAX_STREAMS) {
      throw new OffshootError('too_many_streams', `${own} pages are open in this session`);
    }
    this.#open.set(hash, own + 1);
    this.#total++;
  }

  #release({ hash }: Session): void {
    const left = (this.#open.get(hash) ?? 1) - 1;
    if (left === 0) this.#open.delete(hash);
    else this.#open.set(hash, left);
    this.#total--;
  }
}

type AnyView = (typeof VIEWS)['functions'];

function isView(name: string): name is keyof typeof VIEWS {
  return Object.hasOwn(VIEWS, name);
}
