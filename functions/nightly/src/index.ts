/** Runs by itself every night, and can be called as well. */
interface Input {
  readonly keepDays?: number;
  readonly takesMs?: number;
}

export default {
  fetch(): Response {
    return new Response('it runs at three in the morning, Berlin time\n');
  },

  async scheduled(event: { readonly scheduledTime: number; readonly input: unknown }): Promise<void> {
    const { keepDays = 7, takesMs = 0 } = event.input as Input;
    console.log(`planned for ${event.scheduledTime}: nothing older than ${keepDays} days is kept`);
    await new Promise((resolve) => setTimeout(resolve, takesMs));
  },
};
