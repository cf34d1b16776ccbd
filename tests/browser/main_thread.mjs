// How long the tasks of a page's main thread are, in CPU time, from Chromium's own trace: what the machine does besides
// does not count, so that a limit can be held on a busy one.

/** Starts to watch; the function it gives ends that and tells the longest task in milliseconds. */
export async function watchMainThread(context, page) {
  const cdp = await context.newCDPSession(page);
  const events = [];
  cdp.on('Tracing.dataCollected', ({ value }) => events.push(...value));
  await cdp.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel'], excludedCategories: ['*'] } });
  return async () => {
    const complete = new Promise((resolve) => cdp.once('Tracing.tracingComplete', resolve));
    await cdp.send('Tracing.end');
    await complete;
    const mains = new Set(events.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(({ pid, tid }) => `${pid} ${tid}`));
    const tasks = events.filter(({ ph, pid, tid, tdur }) => ph === 'X' && tdur !== undefined && mains.has(`${pid} ${tid}`));
    if (tasks.length === 0) throw new Error('the trace has no task of a main thread');
    return { longestMs: Math.max(...tasks.map(({ tdur }) => tdur)) / 1000, tasks: tasks.length };
  };
}
