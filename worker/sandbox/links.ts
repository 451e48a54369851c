/**
 * All that links the worker with one sandbox: channel, output pipes, refused calls and the count of calls handed ahead. Opens both
 * ends of each before the fork, and reads the worker's ends out after the sandbox's end.
 */
import { closeSync } from 'node:fs';
import { native, type TurnsPage } from '../native/addon.ts';
import { CallQueue } from './call-queue.ts';
import { SandboxChannel, type ChannelOptions } from './channel.ts';
import { OutputPipes, type OutputStream } from './output-pipes.ts';
import { SandboxStartError } from './specialise.ts';

export interface LinkHandlers extends Pick<ChannelOptions, 'receive' | 'broken'> {
  readonly output: (stream: OutputStream, bytes: Buffer) => void;
  /** A system call that was refused, such as `socket(AF_VSOCK)`. */
  readonly refused: (call: string) => void;
}

export class Links {
  readonly channel: SandboxChannel;
  readonly outputs: OutputPipes;
  readonly turns: CallQueue;
  /** Descriptors for the sandbox, in the order of contract/wire/control.ts. */
  readonly theirs: readonly number[];
  readonly #turnsPage: TurnsPage;
  readonly #stopWatching: () => void;

  constructor({ receive, broken, output, refused }: LinkHandlers) {
    const [channel, theirChannel] = native.socketpair();
    // Refuse descriptors on the channel: the reader of such a message has to close them, and closing a socket may take an hour.
    // Older kernels lack this switch; their sandboxes cannot make a socket that lingers (worker/native/sandbox/sandbox.c).
    native.refuseDescriptors(channel);
    const [refusals, theirRefusals] = native.socketpair();
    this.#stopWatching = native.watchRefusals(refusals, refused);
    this.outputs = new OutputPipes(output);
    this.channel = new SandboxChannel({ fd: channel, outputs: this.outputs.sockets, receive, broken });
    const [theirTurns, turns] = native.makeTurns();
    this.#turnsPage = turns;
    this.turns = new CallQueue({
      post: () => native.postTurn(turns),
      takeBack: (max) => native.takeTurnsBack(turns, max),
    });
    this.theirs = [theirChannel, ...this.outputs.theirs, theirTurns, theirRefusals];
  }

  /** Closes the sandbox's ends in this process. To be called after the fork, also if it failed. */
  closeTheirs(): void {
    for (const fd of this.theirs) closeSync(fd);
  }

  /**
   * Reads what the ended sandbox has left in the sockets, then calls `done`. They reach their end of file by themselves, because no
   * process holds the other side any more. `why`: error of the frames that will not come.
   */
  end(why: string, done: () => void): void {
    this.channel.ended = true;
    this.#stopWatching();
    const sockets = [this.channel.socket, ...this.outputs.sockets];
    let open = sockets.length;
    const closed = (): void => {
      if (--open > 0) return;
      this.channel.rejectAll(new SandboxStartError(why));
      this.turns.end();
      native.closeTurns(this.#turnsPage);
      done();
    };
    for (const socket of sockets) {
      if (socket.closed) closed();
      else socket.once('close', closed).resume();
    }
  }
}
