// scripts/bench/browser: runs every variant once per round, the variants one after the other within a round, so that a
// disturbance meets all of them; then reports, or refuses to when the machine was busy.
// Exit code: 0 reported; 1 something of nutshell failed; 2 wrong usage; 3 refused because busy.
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeMachine, engineVersion, idleCheck, loadAverage } from './machine.mjs';
import { kUsage, parseOptions, UsageError, variantsOf } from './options.mjs';
import { busyReasons, idleReasons, rowsOf, table } from './report.mjs';
import { runVariant } from './run.mjs';
import { serve } from './server.mjs';

const here = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const say = (text) => console.error(text);
const nameOf = ({ engine, simd, threads }) => `${engine}${simd ? ` ${simd}` : ''} x${threads}`;

async function runRounds(options, origin) {
  const variants = variantsOf(options);
  const [measurements, errors] = [[], []];
  const versions = {};
  let browser = null;
  for (let round = 1; round <= options.rounds; round++) {
    // Each round begins with another variant: none always follows the same one.
    const shift = (round - 1) % variants.length;
    for (const variant of [...variants.slice(shift), ...variants.slice(0, shift)]) {
      if (round > variant.rounds) continue;
      const begin = performance.now();
      const report = (item) => {
        measurements.push({ ...item, variant });
        const wait = item.wait === undefined ? '' : ` (wait ${item.wait.toFixed(2)})`;
        say(`  ${nameOf(variant)}: ${item.work} ${item.value.toPrecision(4)} ${item.unit}${wait}`);
      };
      try {
        const told = await runVariant(variant, options, origin, report);
        browser = told.browser ?? browser;
        versions[variant.engine] ??= told.version ?? engineVersion(variant.engine);
      } catch (error) {
        errors.push({ ...variant, round, message: String(error.message).split('\n')[0] });
        say(`  ${nameOf(variant)} FAILED: ${error.stack}`);
        versions[variant.engine] ??= engineVersion(variant.engine);
      }
      say(`round ${round}/${options.rounds}: ${nameOf(variant)} in ${((performance.now() - begin) / 1000).toFixed(0)} s`);
    }
  }
  for (const item of measurements) item.version = versions[item.variant.engine];
  return { measurements, errors, browser };
}

async function run(options) {
  const dist = options.dist || here('../../../web/dist');
  if (!existsSync(path.join(dist, 'index.js'))) throw new UsageError(`${dist} has no index.js: run scripts/build first`);
  const machine = { ...describeMachine(), loadBefore: loadAverage() };
  const before = idleReasons(await idleCheck(), machine.cores);
  if (before.length && !options.allowBusy) return refuse(before);
  options.modelName = path.basename(options.model);
  const server = await serve({
    '/dist/': dist,
    '/pages/': here('../pages'),
    '/peers/': here('../node_modules'),
    [`/model/${options.modelName}`]: options.model,
    ...(options.onnx && { '/onnx/model/': options.onnx }),
  });
  let result;
  try {
    result = await runRounds(options, server.origin);
  } finally {
    server.close();
  }
  const rows = rowsOf(result.measurements, options.modelName);
  const reasons = [...before, ...busyReasons(rows, machine.cores)];
  const { browser, errors } = result;
  const report = {
    machine: { ...machine, browser, loadAfter: loadAverage() },
    busy: reasons.length > 0,
    ...(reasons.length && { busyReasons: reasons }),
    model: options.modelName,
    context: options.context,
    steps: options.steps,
    rows,
    ...(errors.length && { errors }),
  };
  const file = await keep(report, options.out);
  if (report.busy && !options.allowBusy) return refuse(reasons, file);
  console.log(options.json ? JSON.stringify(report) : table(report));
  return errors.some(({ engine }) => engine === 'nutshell') || rows.length === 0 ? 1 : 0;
}

async function keep(report, out) {
  const file = path.resolve(out || path.join(here('../../../build/bench'), `${report.machine.date.replace(/[:.]/g, '-')}.json`));
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(report, null, 1)}\n`);
  say(`kept in ${file}`);
  return file;
}

function refuse(reasons, file) {
  say('The machine is busy; numbers of it would mislead:');
  for (const reason of reasons.slice(0, 10)) say(`  ${reason}`);
  say(file ? `What was measured is in ${file}, marked busy.` : 'Nothing was measured.');
  say('Try again when it is quiet, or give --allow-busy.');
  return 3;
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) console.log(kUsage);
  else process.exitCode = await run(options);
} catch (error) {
  const usage = error instanceof UsageError;
  say(usage ? `nutshell: ${error.message}\n${kUsage}` : error.stack);
  process.exitCode = usage ? 2 : 1;
}
