/** The worker's end of a sandbox's channel: sends and receives frames, and stops reading when the sandbox sends too much. */
import { Socket } from 'node:net';
import {
  ChannelReader,
  encodeChannelFrame,
  MAX_SANDBOX_FRAME_BYTES,
  type ChannelKind,
} from '#contract/wire/channel.ts';
import { STREAM_WINDOW_BYTES } from '#contract/functions/limits.ts';
import { native } from '../native/addon.ts';
import { SandboxStartError } from './specialise.ts';

/**
 * Number of discarded output bytes after which the sandbox is not read for a moment. Otherwise a function that prints without end
 * would keep the worker busy with discarding it, at the cost of all other functions.
 */
const REST_AFTER_BYTES = 1024 * 1024;
const REST_MS = 10;

export interface ChannelOptions {
  readonly fd: number;
  /** Output sockets that are paused with the channel. */
  readonly outputs: readonly Socket[];
  /** Receives the frames that no expect() waits for. */
  readonly receive: (kind: number, handle: number, payload: Buffer) => void;
  /** Called when the bytes received are no valid frame. */
  readonly broken: () => void;
}

export class SandboxChannel {
  readonly socket: Socket;
  /**
   * True once the sandbox has ended: all remaining data must be read, however slow its reader, since the end is reported after
   * it.
   */
  ended = false;
  readonly #fd: number;
  readonly #outputs: readonly Socket[];
  readonly #waiting = new Map<number, Pick<PromiseWithResolvers<Buffer>, 'resolve' | 'reject'>>();
  #uncredited = 0;
  #discarded = 0;
  #resting = false;
  /** Settles when the channel takes more, or is closed. */
  #room: Promise<void> | undefined;
  /** Time at which reading resumed after a pause, by performance.now(). */
  #readOnAt = 0;

  constructor({ fd, outputs, receive, broken }: ChannelOptions) {
    this.#fd = fd;
    this.#outputs = outputs;
    this.socket = new Socket({ fd, readable: true, writable: true });
    const reader = new ChannelReader(MAX_SANDBOX_FRAME_BYTES, (kind, handle, payload) => {
      const waiting = this.#waiting.get(kind);
      if (!waiting) return receive(kind, handle, payload);
      this.#waiting.delete(kind);
      waiting.resolve(payload);
    });
    this.socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        broken();
      }
    });
    // A sandbox that dies resets its end; its exit already tells the reason.
    this.socket.on('error', () => undefined);
  }

  /** Resolves with the payload of the next frame of that kind. */
  expect(kind: ChannelKind): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.ended) reject(new SandboxStartError('the sandbox has ended'));
      else this.#waiting.set(kind, { resolve, reject });
    });
  }

  /** Rejects all pending expect() calls, because their frames will not come. */
  rejectAll(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  write(frame: Buffer): void {
    this.socket.write(frame);
  }

  /**
   * Sends the first frame of the channel with a descriptor. Only for the first: then there is room, and no queued frame is
   * overtaken.
   */
  writeWithDescriptor(frame: Buffer, descriptor: number): void {
    native.sendWithDescriptors(this.#fd, frame, [descriptor]);
  }

  /** Writes a frame. Resolves when there is room for another one, or the channel has closed. */
  async writePatiently(kind: ChannelKind, handle: number, piece: Buffer): Promise<void> {
    if (this.ended || this.socket.destroyed) return;
    if (this.socket.write(encodeChannelFrame(kind, handle, piece))) return;
    this.#room ??= new Promise((resolve) => {
      const done = (): void => {
        this.#room = undefined;
        this.socket.off('drain', done).off('close', done);
        resolve();
      };
      this.socket.on('drain', done).on('close', done);
    });
    await this.#room;
  }

  /** Counts bytes of a stream that are on their way to the caller; reading stops while there are too many. */
  addUncredited(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited > STREAM_WINDOW_BYTES && !this.ended) this.socket.pause();
  }

  credit(bytes: number): void {
    this.#uncredited = Math.max(0, this.#uncredited - bytes);
    this.#readOn();
  }

  /** Counts discarded output bytes, and pauses reading after REST_AFTER_BYTES. */
  discarded(bytes: number): void {
    this.#discarded += bytes;
    if (this.#discarded < REST_AFTER_BYTES || this.#resting || this.ended) return;
    this.#discarded = 0;
    this.#resting = true;
    for (const socket of [this.socket, ...this.#outputs]) socket.pause();
    setTimeout(() => {
      this.#resting = false;
      for (const socket of this.#outputs) socket.resume();
      this.#readOn();
    }, REST_MS);
  }

  #readOn(): void {
    if (this.#resting || this.#uncredited > STREAM_WINDOW_BYTES) return;
    if (!this.socket.isPaused()) return;
    this.#readOnAt = performance.now();
    this.socket.resume();
  }

  /**
   * Time since which frames could have been read, by performance.now(); undefined while reading is paused because readers are
   * behind.
   */
  get readableSince(): number | undefined {
    return this.socket.isPaused() ? undefined : this.#readOnAt;
  }
}
