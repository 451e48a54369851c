/** Writes the answer of a function to the HTTP connection of its caller, and records how the call ended. */
import type { ServerResponse } from 'node:http';
import { INVOCATION_HEADER, OUTCOME_HEADER } from '#contract/api/headers.ts';
import type {
  Canceller,
  InvocationRecord,
  OpenInvocation,
  RunReport,
} from '#contract/invocations/invocation.ts';
import { STREAM_WINDOW_BYTES } from '#contract/functions/limits.ts';
import { isFailure, OUTCOMES, type Outcome } from '#contract/invocations/outcome.ts';
import { serverTiming } from '#contract/invocations/trace.ts';
import { failureAnswer } from './failure.ts';
import type { Invocation } from '../dispatch/invocation.ts';
import type { CallSink, Failure, OpenCall } from '../dispatch/pending.ts';
import { checkResponse, type CheckedResponse } from './response-meta.ts';

/** Delivered bytes after which the worker gets credit for them: often enough that its window never runs dry. */
const CREDIT_BYTES = STREAM_WINDOW_BYTES / 4;
/** Upper bound on a body that is copied next to its headers; copying a larger one costs more than a second buffer. */
const ONE_WRITE_BYTES = 16 * 1024;
/** Time after which a client that takes no byte of a finished response is disconnected, because the response stays in memory. */
const STALLED_CLIENT_MS = 60_000;
/** Cause in the record of a call whose client closed the connection. */
const DISCONNECTED = 'the caller disconnected before its answer was complete';
const CALLER: Canceller = { by: 'caller' };

export interface ExchangeOptions {
  readonly invocation: Invocation;
  readonly response: ServerResponse;
  /** See failureAnswer(). */
  readonly trusted: boolean;
  readonly finished: (record: InvocationRecord) => void;
  /** Gets the open record of a call that has not ended after a while. */
  readonly lasting: (record: OpenInvocation) => void;
}

export class Exchange implements CallSink {
  readonly #invocation: Invocation;
  readonly #response: ServerResponse;
  readonly #trusted: boolean;
  readonly #finished: (record: InvocationRecord) => void;
  readonly #lasting: (record: OpenInvocation) => void;
  #call: OpenCall | undefined;
  /** The caller closed the connection before it had the whole answer. */
  #gone = false;
  #ended = false;
  #status = 0;
  #responseBytes = 0;
  #uncredited = 0;
  /** The response has no body whatever the function sends: HEAD, 204, 205, 304. */
  #bodyless = false;
  /** Bytes that the announced content-length still allows. */
  #allowed: number | undefined;
  /** The reason why the response was cut off, when the function sent an invalid one. */
  #broken: string | undefined;

  constructor(options: ExchangeOptions) {
    this.#invocation = options.invocation;
    this.#response = options.response;
    this.#trusted = options.trusted;
    this.#finished = options.finished;
    this.#lasting = options.lasting;
    options.response.on('close', () => this.#onClose());
  }

  /** To be called once, with the call that this answers. */
  attach(call: OpenCall): void {
    this.#call = call;
    if (this.#gone) call.cancel(CALLER);
  }

  result(payload: Buffer, report: RunReport): void {
    if (this.#gone) return this.#finishCancelled(report);
    const checked = checkResponse(payload);
    if ('problem' in checked) {
      return this.failed({ outcome: 'bad_response', message: checked.problem, report });
    }
    const waits = this.#invocation.waits(report);
    const headers = this.#headersOf(checked, serverTiming({ ...waits, report }), report.outcome);
    if (!this.#bodyless) headers.push('content-length', String(checked.body.length));
    this.#response.writeHead(checked.status, headers);
    this.#endWith(this.#bodyless ? undefined : checked.body);
    this.#responseBytes = this.#bodyless ? 0 : checked.body.length;
    this.#guardAgainstStall();
    this.#finish(report.outcome, report, undefined, waits);
  }

  head(payload: Buffer, report: RunReport | undefined): void {
    if (this.#gone) return;
    const checked = checkResponse(payload);
    if ('problem' in checked) {
      this.#broken = checked.problem;
      this.#refuse({ outcome: 'bad_response', message: checked.problem, report });
      this.#call?.cancel();
      return;
    }
    const waits = this.#invocation.waits(report);
    const timing = report ? serverTiming({ ...waits, report }) : `gateway;dur=${waits.gateway.toFixed(3)}`;
    const headers = this.#headersOf(checked, timing, undefined);
    if (!this.#bodyless && checked.contentLength !== undefined) {
      // Kept, so that a download shows its progress. Enforced, because the next response on this connection begins at the
      // announced end of this one.
      headers.push('content-length', String(checked.contentLength));
      this.#allowed = checked.contentLength;
    }
    this.#response.writeHead(checked.status, headers);
    if (this.#bodyless) this.#response.end();
    else this.#response.flushHeaders();
    // Bytes that come with the head are not part of the window: the worker counts only the chunks after it.
    this.#pass(checked.body, false);
  }

  lasting(worker: string | undefined): void {
    this.#lasting(this.#invocation.called(worker));
  }

  chunk(bytes: Buffer): void {
    this.#pass(bytes, true);
  }

  end(report: RunReport): void {
    if (this.#broken !== undefined) return this.#finish('bad_response', report, this.#broken);
    if (this.#gone) return this.#finishCancelled(report);
    if (!isFailure(report.outcome) && this.#allowed !== undefined && this.#allowed > 0) {
      this.#breakOff('the body is shorter than its content-length');
      return this.#finish('bad_response', report, this.#broken);
    }
    this.#ended = true;
    // A failed stream is cut off instead of ended, so that the client cannot take the part for the whole.
    if (!isFailure(report.outcome)) this.#response.end();
    else this.#response.destroy();
    this.#guardAgainstStall();
    this.#finish(report.outcome, report);
  }

  failed(failure: Failure): void {
    if (this.#broken !== undefined) return this.#finish('bad_response', failure.report, this.#broken);
    if (this.#gone) return this.#finishCancelled(failure.report, failure.message);
    if (this.#response.headersSent) {
      this.#ended = true;
      this.#response.destroy();
    } else this.#refuse(failure);
    this.#finish(failure.outcome, failure.report, failure.message, undefined, failure.cancelledBy);
  }

  #refuse(failure: Failure): void {
    const answer = failureAnswer(this.#invocation.id, failure, this.#trusted);
    const body = Buffer.from(JSON.stringify(answer.body));
    const headers: string[] = ['content-type', 'application/json', 'content-length', String(body.length)];
    for (const [name, value] of Object.entries(answer.headers)) headers.push(name, value);
    headers.push('cache-control', 'no-store', INVOCATION_HEADER, this.#invocation.id);
    if (!failure.error) {
      const waits = this.#invocation.waits(failure.report);
      headers.push('server-timing', serverTiming({ ...waits, report: failure.report }));
    }
    this.#status = answer.status;
    this.#response.writeHead(answer.status, headers);
    this.#response.end(this.#invocation.method === 'HEAD' ? undefined : body);
  }

  #headersOf(checked: CheckedResponse, timing: string, outcome: Outcome | undefined): string[] {
    const { status, headers } = checked;
    this.#status = status;
    this.#bodyless = this.#invocation.method === 'HEAD' || status === 204 || status === 205 || status === 304;
    headers.push(INVOCATION_HEADER, this.#invocation.id, 'server-timing', timing);
    if (outcome !== undefined) headers.push(OUTCOME_HEADER, outcome);
    // The length that a GET would have had: https://www.rfc-editor.org/rfc/rfc9110#section-8.6. A 205 announces an empty body.
    if (status === 205) headers.push('content-length', '0');
    else if (this.#bodyless && status !== 204 && checked.contentLength !== undefined) {
      headers.push('content-length', String(checked.contentLength));
    }
    return headers;
  }

  #pass(bytes: Buffer, counts: boolean): void {
    if (this.#gone || this.#broken !== undefined || bytes.length === 0) return;
    if (this.#bodyless) {
      if (counts) this.#delivered(bytes.length);
      return;
    }
    if (this.#allowed !== undefined && (this.#allowed -= bytes.length) < 0) {
      return this.#breakOff('the body is longer than its content-length');
    }
    this.#responseBytes += bytes.length;
    // The callback runs when the bytes have been handed to the system. A client that reads slowly earns no credit, so the
    // worker stops the function's stream when the window is used up.
    this.#response.write(bytes, (error) => {
      if (!error && counts) this.#delivered(bytes.length);
    });
  }

  #delivered(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited < CREDIT_BYTES || this.#ended) return;
    this.#call?.credit(this.#uncredited);
    this.#uncredited = 0;
  }

  #breakOff(problem: string): void {
    this.#broken = problem;
    this.#response.destroy();
    this.#call?.cancel();
  }

  #endWith(body: Buffer | undefined): void {
    // As a string, a small body leaves together with the headers in one buffer and one plain write; as bytes it would be a
    // second buffer in a gathered write. latin1 maps each byte to one character and back.
    if (body && body.length <= ONE_WRITE_BYTES) this.#response.end(body.toString('latin1'), 'latin1');
    else this.#response.end(body);
  }

  #guardAgainstStall(): void {
    // node:http destroys a connection on which no byte has moved for this time, and clears the timeout when the response is done.
    if (this.#response.writableLength > 0) this.#response.socket?.setTimeout(STALLED_CLIENT_MS);
  }

  #onClose(): void {
    if (this.#ended || this.#response.writableFinished) return;
    this.#gone = true;
    this.#call?.cancel(CALLER);
  }

  /** Ends a call whose caller has disconnected. An API key may have cancelled it before. */
  #finishCancelled(report: RunReport | undefined, message = DISCONNECTED): void {
    this.#finish('cancelled', report, message, undefined, report?.cancelledBy ?? CALLER);
  }

  #finish(
    outcome: Outcome,
    report: RunReport | undefined,
    message?: string,
    waits = this.#invocation.waits(report),
    cancelledBy?: Canceller,
  ): void {
    this.#ended = true;
    // A caller that disconnected got no status, so the record has the status that belongs to the outcome.
    const status = this.#status || OUTCOMES[outcome].status;
    const ended = { outcome, status, responseBytes: this.#responseBytes, report, message, cancelledBy };
    this.#finished(this.#invocation.record(ended, waits));
  }
}
