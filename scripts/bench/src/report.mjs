// From single measurements to the report: rows with min, median and max, whether the machine was busy, and the table.

const kLimit = 0.1; // per thread of waiting, per core of others and of the host
const round = (value) => (value === undefined ? undefined : Number(value.toPrecision(5)));

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const kNames = { wllama2: 'wllama', wllama3: 'wllama', llamacpp: 'llama.cpp native', transformersjs: 'transformers.js' };

/** One row per variant and work. `measurements`: {variant, version, work, unit, value, wait, other, steal}. */
export function rowsOf(measurements, model) {
  const groups = new Map();
  for (const item of measurements) {
    const { engine, simd, threads } = item.variant;
    const key = [engine, simd, threads, item.work].join('|');
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return [...groups.values()].map((items) => {
    const [{ variant, version, work, unit }] = items;
    const values = items.map(({ value }) => round(value));
    const middle = (name) => {
      const known = items.map((item) => item[name]).filter((value) => value !== undefined);
      return known.length ? round(median(known)) : undefined;
    };
    return {
      engine: kNames[variant.engine] ?? variant.engine,
      version,
      model,
      simd: variant.simd,
      threads: variant.threads,
      work,
      unit,
      min: Math.min(...values),
      median: round(median(values)),
      max: Math.max(...values),
      rounds: values.length,
      values,
      wait: middle('wait'),
      other: middle('other'),
      steal: middle('steal'),
    };
  });
}

/** Why the numbers should not be trusted; empty if they may be. A row counts by its median, so one bad round is no reason. */
export function busyReasons(rows, cores) {
  const reasons = [];
  for (const { engine, version, work, threads, wait, other, steal } of rows) {
    const say = (text) => reasons.push(`${engine} ${version}, ${threads} threads, ${work}: ${text}`);
    // A starting browser has more threads of its own than any machine has cores.
    if (wait > kLimit * threads && !work.startsWith('load')) say(`our threads waited ${wait.toFixed(2)} s per second for a core`);
    else if (other > kLimit * cores) say(`other processes used ${other.toFixed(2)} cores`);
    if (steal > kLimit * cores) say(`the host took ${steal.toFixed(2)} cores`);
  }
  return reasons;
}

/** The same for a look at the machine before anything runs. */
export function idleReasons({ other, steal }, cores) {
  const reasons = [];
  if (other > kLimit * cores) reasons.push(`before the run, other processes used ${other.toFixed(2)} cores`);
  if (steal > kLimit * cores) reasons.push(`before the run, the host took ${steal.toFixed(2)} cores`);
  return reasons;
}

const show = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** How many times better nutshell's best flavour is than this row, by medians; '' where there is nothing to compare. */
function lead(row, rows) {
  if (row.engine === 'nutshell') return '';
  const own = rows.filter((item) => item.engine === 'nutshell' && item.threads === row.threads && item.work === row.work);
  const ours = own.find((item) => item.simd === 'relaxed') ?? own[0];
  if (!ours) return '';
  const more = row.unit === 'tokens/s';
  return `${show(more ? ours.median / row.median : row.median / ours.median)} x`;
}

/** A Markdown table, sorted by threads, work and engine. */
export function table({ machine, busy, rows, model }) {
  const order = (row) => `${String(row.threads).padStart(3)} ${rows.findIndex(({ work }) => work === row.work)}`;
  const sorted = [...rows].sort((a, b) => order(a).localeCompare(order(b), 'en', { numeric: true }));
  const lines = sorted.map((row) => {
    const spread = row.rounds > 1 ? `${show(row.min)} - ${show(row.max)}` : '';
    const name = `${row.engine} ${row.version}${row.simd ? ` ${row.simd}` : ''}`;
    return `| ${[row.threads, row.work, name, show(row.median), row.unit, spread, row.rounds, lead(row, rows)].join(' | ')} |`;
  });
  return [
    `${model} on ${machine.cpu}, ${machine.cores} cores, ${machine.browser ?? 'native'}, ${machine.date}${busy ? ' (busy machine)' : ''}`,
    '',
    '| threads | work | engine | median | unit | min - max | rounds | nutshell is ahead by |',
    '|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}
