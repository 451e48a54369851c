/** The worker's end of a sandbox's channel: frames in both directions, and when reading is held back. */
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
 * After so much output that nobody keeps, nothing is read of the sandbox for a moment. Otherwise a function that prints as
 * fast as it can would have the worker throw it away as fast as it can, at everybody else's cost.
 */
const REST_AFTER_BYTES = 1024 * 1024;
const REST_MS = 10;

export interface ChannelOptions {
  readonly fd: number;
  /** The sockets that rest with it. */
  readonly outputs: readonly Socket[];
  /** Gets the frames that nobody waits for. */
  readonly receive: (kind: number, handle: number, payload: Buffer) => void;
  /** What came is no frame. */
  readonly broken: () => void;
}

export class SandboxChannel {
  readonly socket: Socket;
  /** The sandbox has: all that is left must be read, whatever its reader does, or nobody would ever hear of the end. */
  ended = false;
  readonly #fd: number;
  readonly #outputs: readonly Socket[];
  readonly #waiting = new Map<number, Pick<PromiseWithResolvers<Buffer>, 'resolve' | 'reject'>>();
  #uncredited = 0;
  #discarded = 0;
  #resting = false;
  /** Settles when the channel takes more, or is closed. */
  #room: Promise<void> | undefined;
  /** When reading went on after it had been held back, by performance.now(). */
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
    // A sandbox that dies resets its end; its exit message says all there is to say.
    this.socket.on('error', () => undefined);
  }

  /** The payload of the next frame of that kind. */
  expect(kind: ChannelKind): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.ended) reject(new SandboxStartError('the sandbox has ended'));
      else this.#waiting.set(kind, { resolve, reject });
    });
  }

  /** What is waited for will not come. */
  rejectAll(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  write(frame: Buffer): void {
    this.socket.write(frame);
  }

  /** For the first frame only: nothing has been written before, so there is room, and nothing can be overtaken. */
  writeWithDescriptor(frame: Buffer, descriptor: number): void {
    native.sendWithDescriptors(this.#fd, frame, [descriptor]);
  }

  /** Resolves when there is room for another one, or nobody is left to read it. */
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

  /** So many bytes of its output have been thrown away. */
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

  /** Since when it could have been heard, by performance.now(); undefined while it is held back because its readers are behind. */
  get readableSince(): number | undefined {
    return this.socket.isPaused() ? undefined : this.#readOnAt;
  }
}
