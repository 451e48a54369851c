/** Takes orders in batches, and fails at those that say so. */
interface Order {
  readonly quantity: number;
  /** `throw` fails the whole group, `retry` this item until its third try, `never` this item always. */
  readonly fail?: 'throw' | 'retry' | 'never';
  readonly sleepMs?: number;
}

interface Message {
  readonly index: number;
  readonly body: Order;
  readonly attempts: number;
  ack(result?: unknown): void;
  retry(options?: { delaySeconds?: number }): void;
}

export default {
  async queue(batch: { readonly id: string; readonly messages: readonly Message[] }): Promise<void> {
    for (const message of batch.messages) {
      const { quantity, fail, sleepMs } = message.body;
      if (sleepMs !== undefined) await new Promise((resolve) => setTimeout(resolve, sleepMs));
      if (fail === 'throw') throw new Error(`order ${message.index} breaks everything`);
      if (fail === 'never' || (fail === 'retry' && message.attempts < 3)) message.retry();
      else message.ack({ total: quantity * 3 });
    }
  },
};
