/**
 * A tracer that code gets before the function's own SDK has registered. Libraries ask for theirs when they are loaded, which is
 * often earlier; so the choice is made at each span.
 */
import { ownPart } from './api-global.ts';

export interface Tracer {
  startSpan(...given: unknown[]): unknown;
  startActiveSpan(...given: unknown[]): unknown;
}

interface TracerProvider {
  getTracer(...identity: unknown[]): Tracer;
}

export class LateTracer implements Tracer {
  readonly #platform: Tracer;
  readonly #identity: unknown[];
  #provider: TracerProvider | undefined;
  #own: Tracer | undefined;

  /** `identity`: arguments of getTracer(): name, version, options. */
  constructor(platform: Tracer, identity: unknown[]) {
    this.#platform = platform;
    this.#identity = identity;
  }

  startSpan(...given: unknown[]): unknown {
    return this.#current().startSpan(...given);
  }

  startActiveSpan(...given: unknown[]): unknown {
    return this.#current().startActiveSpan(...given);
  }

  #current(): Tracer {
    const provider = ownPart('trace') as TracerProvider | undefined;
    if (provider !== this.#provider) {
      this.#provider = provider;
      const own = provider?.getTracer(...this.#identity);
      // A function may register the platform's provider again.
      this.#own = own instanceof LateTracer ? undefined : own;
    }
    return this.#own ?? this.#platform;
  }
}
