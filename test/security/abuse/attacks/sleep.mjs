/** Takes a place for the time that its caller asks for. */
import { setTimeout as sleep } from 'node:timers/promises';

export default {
  async fetch(request) {
    await sleep(Number(new URL(request.url).searchParams.get('ms')));
    return new Response('slept');
  },
};
