/** Prints without end while it is loaded, before any invocation that could be charged for the output. */
while (process.uptime() >= 0) console.log('z'.repeat(48_000));
export default { fetch: () => new Response('never') };
